"""E-mail to people: put in the transaction of what it is about, delivered as a kind of job.

No e-mail names a patient, an accession number, a UID or an AE title of a patient's study: it says
how many examinations, and where to sign in to see them. A physician's name is in the one to the
address for physicians who have no account, since nobody could pass it on without.
"""

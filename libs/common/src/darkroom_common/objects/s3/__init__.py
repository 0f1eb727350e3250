"""An object store that speaks S3: Amazon's, or one of a hospital's own."""

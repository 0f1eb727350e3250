"""The SQL of reading rows with what is encrypted in them, and of writing those that differ."""

from typing import Final

NEXT: Final = (  # study_pkey; instance_series for each study that is looked at
    "SELECT s.id, s.study_instance_uid FROM index.study s WHERE s.id > $1"
    " AND ($2::text IS NULL OR s.study_instance_uid = $2)"
    " AND ($3::text[] IS NULL OR EXISTS (SELECT FROM index.series e"
    "  JOIN index.instance i ON i.series_id = e.id"
    "  WHERE e.study_id = s.id AND i.transfer_syntax_uid = ANY($3::text[])))"
    " ORDER BY s.id LIMIT 1"
)
LEFT: Final = (
    "SELECT count(DISTINCT e.study_id), count(*) FROM index.instance i"
    " JOIN index.series e ON e.id = i.series_id JOIN index.study s ON s.id = e.study_id"
    " WHERE s.id > $1 AND ($2::text IS NULL OR s.study_instance_uid = $2)"
    " AND ($3::text[] IS NULL OR s.id IN (SELECT f.study_id FROM index.instance a"
    "  JOIN index.series f ON f.id = a.series_id WHERE a.transfer_syntax_uid = ANY($3::text[])))"
)
INSTANCES: Final = (  # series_study_id_series_instance_uid_key, instance_series
    "SELECT i.id, i.series_id, e.series_instance_uid, i.sop_instance_uid, i.sop_class_uid,"
    " i.transfer_syntax_uid, i.instance_number, i.pixel_rows, i.pixel_columns, i.bits_allocated,"
    " i.number_of_frames, i.object_key, encode(i.sha256, 'hex') AS sha256, i.size,"
    " i.data_set_offset, i.receipt, i.calling_ae_title, i.flags, i.received_at, i.frame_places,"
    " CASE WHEN length(i.header) > 0"
    "  THEN pgp_sym_decrypt(i.header, ($1::text[])[i.phi_key]) ELSE '' END AS header"
    " FROM index.series e JOIN index.instance i ON i.series_id = e.id"
    " WHERE e.study_id = $2 AND i.id > $3 ORDER BY i.id LIMIT $4"
)
SERIES: Final = (
    "SELECT e.id, e.modality, e.series_number, e.performed_date, e.performed_time, e.blind,"
    " pgp_sym_decrypt(e.phi, ($1::text[])[e.phi_key]) AS phi, e.instance_count,"
    " (SELECT count(*) FROM index.instance i WHERE i.series_id = e.id) AS counted"
    " FROM index.series e WHERE e.study_id = $2"
)
STUDY: Final = (
    "SELECT s.id, s.patient_id, s.study_date, s.study_time, s.utc_offset, s.blind,"
    " pgp_sym_decrypt(s.phi, ($1::text[])[s.phi_key]) AS phi, s.modalities, s.sop_classes,"
    " s.calling_ae_titles, s.series_count, s.instance_count, s.byte_count"
    " FROM index.study s WHERE s.id = $2"
)
COUNTS: Final = (
    "SELECT count(DISTINCT e.id) AS series_count, count(i.id) AS instance_count,"
    " coalesce(sum(i.size), 0)::bigint AS byte_count,"
    " coalesce(array_agg(DISTINCT i.sop_class_uid), '{}') AS sop_classes,"
    " coalesce(array_agg(DISTINCT i.calling_ae_title), '{}') AS calling_ae_titles"
    " FROM index.series e JOIN index.instance i ON i.series_id = e.id WHERE e.study_id = $1"
)
PATIENT: Final = (  # study_patient
    "SELECT pgp_sym_decrypt(p.phi, ($1::text[])[p.phi_key]) AS phi, p.blind,"
    " (SELECT min(s.id) FROM index.study s WHERE s.patient_id = p.id) AS first_study"
    " FROM index.patient p WHERE p.id = $2"
)

SET_INSTANCES: Final = (
    "UPDATE index.instance i SET instance_number = g.number, pixel_rows = g.rows,"
    " pixel_columns = g.columns, bits_allocated = g.bits, number_of_frames = g.frames,"
    " flags = string_to_array(g.flags, E'\\x1f'), header = pgp_sym_encrypt(g.header, $10, $12),"
    " phi_key = $11, frame_places = g.places"
    " FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::int[], $5::int[],"
    " $6::int[], $7::text[], $8::text[], $9::bytea[])"
    " AS g (id, number, rows, columns, bits, frames, flags, header, places) WHERE i.id = g.id"
)
SET_SERIES: Final = (
    "UPDATE index.series SET modality = $2, series_number = $3, performed_date = $4,"
    " performed_time = $5, phi = pgp_sym_encrypt($6, $8, $10), phi_key = $9, blind = $7,"
    " version = version + 1 WHERE id = $1"
)
SET_COUNT: Final = (
    "UPDATE index.series SET instance_count = $2, version = version + 1 WHERE id = $1"
)
SET_STUDY: Final = (
    "UPDATE index.study SET patient_id = $2, study_date = $3, study_time = $4, utc_offset = $5,"
    " phi = pgp_sym_encrypt($6, $8, $10), phi_key = $9, blind = $7, version = version + 1"
    " WHERE id = $1"
)
SET_SUMS: Final = (
    "UPDATE index.study SET modalities = $2, sop_classes = $3, calling_ae_titles = $4,"
    " series_count = $5, instance_count = $6, byte_count = $7, version = version + 1 WHERE id = $1"
)
SET_PATIENT: Final = (
    "UPDATE index.patient SET phi = pgp_sym_encrypt($2, $4, $6), phi_key = $5, blind = $3,"
    " updated_at = now() WHERE id = $1"
)
DROP_PATIENT: Final = (  # patient_pkey, patient_patient_key_key, study_patient
    "DELETE FROM index.patient p WHERE (p.id = $1 OR p.patient_key = $2)"
    " AND NOT EXISTS (SELECT FROM index.study s WHERE s.patient_id = p.id)"
)

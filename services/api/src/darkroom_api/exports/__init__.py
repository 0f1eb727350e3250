"""Lists of studies as files: asked for as jobs, made by processes of their own, sealed."""

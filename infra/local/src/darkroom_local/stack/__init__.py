"""All of Darkroom on one machine, started and stopped as one."""

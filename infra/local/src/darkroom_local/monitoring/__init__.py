"""Dashboards: what they show, made into what Grafana loads, and into pictures."""

"""What is measured, as others read it: files of lines, Prometheus, OpenTelemetry."""

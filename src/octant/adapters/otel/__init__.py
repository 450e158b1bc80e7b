"""OpenTelemetry: traces to a collector over OTLP. Imported only where an endpoint is configured."""

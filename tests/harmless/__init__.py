"""Whatever is broken in, beside or below the telemetry, the app's own calls are whole."""

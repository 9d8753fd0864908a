"""What OpenTelemetry's API does where nobody has set up its SDK: nothing."""


def is_real(provider: object) -> bool:
    """Tell whether a provider was set; those of OpenTelemetry's API do nothing."""
    package = type(provider).__module__
    return not package.startswith(
        ("opentelemetry.trace", "opentelemetry.metrics", "opentelemetry._logs")
    )

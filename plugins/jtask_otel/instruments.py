"""The instruments: what is measured, in which unit."""

from opentelemetry.metrics import Meter

from jtask_otel import names
from jtask_otel.depths import Depths


class Instruments:
    """All instruments of this process.

    Args:
        meter: Makes them.
    """

    def __init__(self, meter: Meter) -> None:
        self.depths = Depths(meter)
        self.operation_duration = meter.create_histogram(
            names.OPERATION_DURATION,
            "s",
            "Duration of sending to the broker.",
            explicit_bucket_boundaries_advisory=names.BUCKETS,
        )
        self.process_duration = meter.create_histogram(
            names.PROCESS_DURATION,
            "s",
            "Duration of an attempt.",
            explicit_bucket_boundaries_advisory=names.LONG_BUCKETS,
        )
        self.sent = meter.create_counter(
            names.SENT_MESSAGES, "{message}", "Runs that were sent to the broker."
        )
        self.consumed = meter.create_counter(
            names.CONSUMED_MESSAGES, "{message}", "Runs that workers got, once for each attempt."
        )
        self.queue_time = meter.create_histogram(
            names.RUN_QUEUE_TIME,
            "s",
            "From when a run could have started to when it did.",
            explicit_bucket_boundaries_advisory=names.LONG_BUCKETS,
        )
        self.run_duration = meter.create_histogram(
            names.RUN_DURATION,
            "s",
            "What all attempts of a run took that is over.",
            explicit_bucket_boundaries_advisory=names.LONG_BUCKETS,
        )
        self.running = meter.create_up_down_counter(
            names.RUNNING, "{run}", "Runs that are being executed."
        )
        self.lateness = meter.create_histogram(
            names.SCHEDULE_LATENESS,
            "s",
            "How long after the instant of its schedule a run started.",
            explicit_bucket_boundaries_advisory=names.LONG_BUCKETS,
        )
        self.retries = meter.create_counter(
            names.RETRIES, "{attempt}", "Attempts that failed and are followed by another one."
        )
        self.crashes = meter.create_counter(
            names.CRASHES, "{attempt}", "Attempts whose worker was lost, and runs that crashed."
        )
        self.dead_letters = meter.create_counter(
            names.DEAD_LETTERS, "{run}", "Runs that were dead-lettered."
        )

"""The settings of the console."""

from pydantic import Field, SecretStr, field_validator

from jtask.settings import SettingsModel


class ConsoleSettings(SettingsModel):
    """Where the console listens, and who may use it."""

    console_host: str = "127.0.0.1"
    """Where it listens; another address than this machine's own needs a token or a proxy."""
    console_port: int = Field(default=8640, ge=0, le=65535)
    """On which port; 0 picks a free one."""
    console_hosts: str = ""
    """Names under which people open it, with commas between, besides the address itself."""
    console_token: SecretStr | None = Field(default=None, min_length=8)
    """Who has this may look and act."""
    console_view_token: SecretStr | None = Field(default=None, min_length=8)
    """Who has this may look."""
    console_user_header: str | None = None
    """The header in which a proxy in front, which authenticates people, names the user."""
    console_proxies: str = "127.0.0.1,::1"
    """Addresses from which that header is believed, with commas between."""
    console_operators: str = ""
    """Users of that header who may act, with commas between; `*` is all."""
    console_read_only: bool = False
    """Whether nobody may act."""
    console_trace_url: str | None = None
    """Where the trace of a run is shown: an address with `{trace_id}` or `{run_id}` in it."""

    @field_validator("console_trace_url")
    @classmethod
    def _check_address(cls, url: str | None) -> str | None:
        is_address = url is None or url.startswith(("http://", "https://"))
        names_run = url is None or "{trace_id}" in url or "{run_id}" in url
        if not (is_address and names_run):
            raise ValueError("must be an http address that has {trace_id} or {run_id} in it")
        return url

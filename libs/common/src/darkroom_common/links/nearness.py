"""Whether a host is this machine: where what is not encrypted is read by nobody else."""

import ipaddress


def is_here(host: str) -> bool:
    """Tell whether `host[:port]` is a loopback address or a directory with a socket."""
    name = host.rpartition("]")[0].removeprefix("[") if "]" in host else host.partition(":")[0]
    if name.startswith(("/", "%2F")) or name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

"""`python -m darkroom_local` is `darkroom`."""

from darkroom_local.commands.cli import app

if __name__ == "__main__":
    app(prog_name="darkroom")

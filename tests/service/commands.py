"""Commands run in this process, as the tests of the command line do."""

from typer.testing import CliRunner

from service.cli import app

runner = CliRunner()


def run(*arguments, code=0, given=None):
    """Run `solomon` with arguments and standard input; fails where it does not end with the exit code."""
    result = runner.invoke(app, [str(argument) for argument in arguments], input=given)
    assert result.exit_code == code, result.output
    return result

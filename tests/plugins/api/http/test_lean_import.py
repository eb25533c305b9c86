"""The API server starts without aiohttp's client, and nobody else notices."""

import subprocess
import sys


def python(*lines: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def program(*lines: str) -> str:
    return python("import sys", "from kubernel_plugins.api.http import lean", "lean.install()", *lines)


def test_the_server_does_not_import_the_client():
    answer = program(
        "import kubernel_plugins.api.http.aio_server",
        "print('aiohttp.client' in sys.modules, 'aiohttp.web_server' in sys.modules)",
    )
    assert answer == "False True"


def test_whoever_asks_for_the_client_gets_it():
    answer = program(
        "import kubernel_plugins.api.http.aio",
        "from aiohttp.web_protocol import RequestPayloadError",
        "import aiohttp",
        "from aiohttp import ClientSession, web",
        "print(aiohttp.ClientTimeout(total=3).total, ClientSession.__module__, web.Server.__module__)",
        "print(web.RequestPayloadError is RequestPayloadError, type(aiohttp).__name__)",
    )
    assert answer == "3 aiohttp.client aiohttp.web_server\nTrue module"


def test_a_name_that_does_not_exist_is_still_an_attribute_error():
    answer = program(
        "import aiohttp",
        "print(hasattr(aiohttp, 'nonsense'), aiohttp.hdrs.__name__)",
        "print(aiohttp.__version__ in aiohttp.http.SERVER_SOFTWARE)",
    )
    assert answer == "False aiohttp.hdrs\nTrue"


def test_an_aiohttp_that_is_there_already_stays():
    answer = python(
        "import aiohttp",
        "from kubernel_plugins.api.http import lean",
        "lean.install()",
        "print(type(aiohttp).__name__, aiohttp.ClientSession.__name__)",
    )
    assert answer == "module ClientSession"

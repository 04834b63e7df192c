"""demo.py in a process of its own, for the tests of its page."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import programs

BYTES = {"Content-Type": "application/octet-stream"}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


class Server:
    """demo.py in a process of its own."""

    def __init__(self, folder, *flags):
        self.temporary = os.path.join(folder, "tmp")
        os.makedirs(self.temporary)
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = open(os.path.join(folder, "log"), "w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "demo.py", f"--port={self.port}", *flags],
            cwd=programs.ROOT,
            env={
                **os.environ,
                "CUDA_VISIBLE_DEVICES": "",
                "TMPDIR": self.temporary,
            },
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + 120
        while "open http" not in self.log():
            assert self.process.poll() is None and time.monotonic() < deadline, (
                self.log()
            )
            time.sleep(0.2)

    def log(self):
        with open(self._log.name) as file:
            return file.read()

    def ask(self, path, data=None, headers=BYTES):
        """(status, headers, body) of a request; a POST if there is data."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET" if data is None else "POST", path, data, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    def files(self):
        """What lies on disk of its visitors."""
        return [
            os.path.join(parent, name)
            for parent, _, names in os.walk(self.temporary)
            for name in names
            # TensorFlow's translation of our code.
            if not name.startswith("__autograph_generated_file")
        ]

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self._log.close()
        return status


def noise(height, width, channels=3):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, [height, width, channels], np.uint8)

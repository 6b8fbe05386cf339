"""The reference's store server, for the suite `interop`: `store_server.py PORT`. It ends when its standard input does."""

import asyncio
import logging
import os
import sys
import threading

from agentlightning.store.client_server import LightningStoreServer
from agentlightning.store.memory import InMemoryLightningStore


def end_with_stdin():
    sys.stdin.read()
    os._exit(0)


async def main(port):
    logging.disable(logging.CRITICAL)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    server = LightningStoreServer(InMemoryLightningStore(thread_safe=True), host="127.0.0.1", port=port)
    await server.run_forever()


asyncio.run(main(int(sys.argv[1])))

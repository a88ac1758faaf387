"""Imported first by the fork server: from here on Ctrl-C ends it, and says nothing.

It runs on import, as a fork server can be told nothing else. Whoever has Ctrl-C ignored, as a shell
does for what it starts in the background, goes on ignoring it.
"""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

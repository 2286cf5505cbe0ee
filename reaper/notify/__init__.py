"""Tells others about runs: webhooks, with a JSON body or with a text as chats take it."""

from reaper.notify.notice import Notice
from reaper.notify.webhook import Notifier, Receiver

__all__ = ["Notice", "Notifier", "Receiver"]

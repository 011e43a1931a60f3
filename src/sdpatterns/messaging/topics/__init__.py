"""Publish and subscribe: each group of subscribers gets each event once."""

from sdpatterns.messaging.topics.subscriber import Subscriber
from sdpatterns.messaging.topics.topic import Topic, TopicBackend

__all__ = ["Subscriber", "Topic", "TopicBackend"]

"""Work that is done later, by whichever worker is free, once and in order where that is asked for."""

from sdpatterns.messaging.jobs.config import JobConfig, JobOptions
from sdpatterns.messaging.jobs.handle import JobHandle
from sdpatterns.messaging.jobs.jobs import Job, Jobs
from sdpatterns.messaging.jobs.notices import JobCompleted, JobEnqueued, JobLost, JobParked, JobRequeued
from sdpatterns.messaging.jobs.record import JobRecord, JobStatus
from sdpatterns.messaging.jobs.run import JobRun, current_job
from sdpatterns.messaging.jobs.worker import Worker

__all__ = [
    "Job",
    "JobCompleted",
    "JobConfig",
    "JobEnqueued",
    "JobHandle",
    "JobLost",
    "JobOptions",
    "JobParked",
    "JobRecord",
    "JobRequeued",
    "JobRun",
    "JobStatus",
    "Jobs",
    "Worker",
    "current_job",
]

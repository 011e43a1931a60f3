"""Work that is done later, by whichever worker is free, once and in order where that is asked for."""

from sdpatterns.messaging.jobs.chains import chain
from sdpatterns.messaging.jobs.config import JobConfig, JobOptions
from sdpatterns.messaging.jobs.handle import JobHandle
from sdpatterns.messaging.jobs.jobs import Job, Jobs
from sdpatterns.messaging.jobs.notices import JobAbandoned, JobCompleted, JobEnqueued, JobLost, JobRequeued
from sdpatterns.messaging.jobs.record import JobRecord, JobStatus
from sdpatterns.messaging.jobs.run import JobRun, current_job
from sdpatterns.messaging.jobs.schedule import Every, Schedule, Times
from sdpatterns.messaging.jobs.worker import Worker

__all__ = [
    "Every",
    "Job",
    "JobAbandoned",
    "JobCompleted",
    "JobConfig",
    "JobEnqueued",
    "JobHandle",
    "JobLost",
    "JobOptions",
    "JobRecord",
    "JobRequeued",
    "JobRun",
    "JobStatus",
    "Jobs",
    "Schedule",
    "Times",
    "Worker",
    "chain",
    "current_job",
]

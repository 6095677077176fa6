"""Every job there is, and everyone who follows the log, gathered for the runner."""

from app.auth.jobs import AccountMails
from app.bookings.jobs import BookingJobs, WaitlistJobs
from app.config import Settings
from app.core.clock import Clock
from app.core.followers import Followers
from app.core.jobs import JobRunner
from app.core.mail import Mailer
from app.database import Database
from app.webhooks.jobs import WebhookJobs


def job_runner(settings: Settings, database: Database, clock: Clock) -> JobRunner:
    """A runner that knows every job and every follower of this release."""
    mailer = Mailer(settings, clock)
    accounts = AccountMails(database, mailer, settings, clock)
    bookings = BookingJobs(database, mailer, settings, clock)
    waitlist = WaitlistJobs(database, mailer, settings, clock)
    webhooks = WebhookJobs(database, settings, clock)
    return JobRunner(
        settings,
        {**accounts.handlers, **bookings.handlers, **waitlist.handlers, **webhooks.handlers},
        {**bookings.routines, **waitlist.routines, **webhooks.routines},
        Followers(database, [webhooks.follower]),
        webhooks.at_once,
    )

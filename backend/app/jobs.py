"""Every job there is, and everyone who follows the log, gathered for the runner."""

from app.auth.jobs import AccountCleaning, AccountMails
from app.bookings.jobs import BookingJobs, WaitlistJobs
from app.config import Settings
from app.core.cleaning import Cleaning
from app.core.clock import Clock
from app.core.followers import Followers
from app.core.jobs import JobRunner
from app.core.mail import Mailer
from app.database import Database
from app.notifications.following import Notifying
from app.notifications.jobs import NotificationJobs
from app.webhooks.jobs import WebhookJobs


def job_runner(settings: Settings, database: Database, clock: Clock) -> JobRunner:
    """A runner that knows every job and every follower of this release."""
    mailer = Mailer(settings, clock)
    accounts = AccountMails(database, mailer, settings, clock)
    bookings = BookingJobs(database, settings, clock)
    waitlist = WaitlistJobs(database, mailer, settings, clock)
    notifications = NotificationJobs(database, mailer, settings, clock)
    webhooks = WebhookJobs(database, settings, clock)
    working = (accounts, bookings, waitlist, notifications, webhooks)
    cleaning = (Cleaning(database, clock), AccountCleaning(database, clock))
    repeating = (*cleaning, bookings, waitlist, notifications, webhooks)
    followers = [Notifying(settings, clock).follower, webhooks.follower]
    return JobRunner(
        settings,
        {name: handler for room in working for name, handler in room.handlers.items()},
        {name: routine for room in repeating for name, routine in room.routines.items()},
        Followers(database, followers),
        webhooks.at_once,
    )

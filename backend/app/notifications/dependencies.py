"""Preferences for routes: one that writes, one that only reads."""

from typing import Annotated

from fastapi import Depends

from app.core.dependencies import AppSettings
from app.core.unit_of_work import ReadSession, Session
from app.notifications.service import PreferenceService
from app.notifications.unsubscribing import UnsubscribeTokens


async def preferences(session: Session, settings: AppSettings) -> PreferenceService:
    return PreferenceService(session, UnsubscribeTokens(settings))


async def preferences_reader(session: ReadSession, settings: AppSettings) -> PreferenceService:
    return PreferenceService(session, UnsubscribeTokens(settings))


Preferences = Annotated[PreferenceService, Depends(preferences)]
PreferencesReader = Annotated[PreferenceService, Depends(preferences_reader)]

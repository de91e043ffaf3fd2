"""For the function that checks a dropped file."""

from slackwater.bootstrap.profiled import ProfiledKit
from slackwater.settings import Settings
from slackwater.usecases.survey_file import SurveyFile


def build(settings: Settings) -> SurveyFile:
    kit = ProfiledKit(settings)
    return SurveyFile(documents=kit.store, runs=kit.runs, profiles=kit.profiles, events=kit.events, clock=kit.clock)

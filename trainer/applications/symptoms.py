"""Simulated: which clinic does a description of symptoms belong to? A sentence or two.

Phrases of four clinics are put together with words that any patient says, complaints of another
clinic in passing, negations and misspellings. The sentences are nobody's.
"""

from __future__ import annotations

import numpy as np

from chaincode.schema.data import DataTerms, TextTerms
from trainer.applications.application import Application, Sample, Tuned
from trainer.applications.provenance import Provenance, Use, text

PATIENTS, BUCKETS = 2400, 256
_PHRASES = {
    "respiratory": (
        "a dry cough",
        "coughing up phlegm",
        "short of breath",
        "wheezing at night",
        "my chest feels tight when breathing",
        "a sore throat",
        "a runny nose",
        "asthma again",
        "out of breath on the stairs",
        "a barking cough",
        "lost my voice",
        "blocked sinuses",
    ),
    "cardiac": (
        "a pressing pain in the chest",
        "palpitations",
        "my heart skips beats",
        "swollen ankles",
        "pain going down the left arm",
        "a racing pulse",
        "fainted when standing up",
        "high blood pressure",
        "a fluttering heart",
        "chest pain on effort",
        "leg oedema",
    ),
    "digestive": (
        "stomach ache",
        "nausea",
        "vomiting since yesterday",
        "diarrhoea",
        "heartburn after meals",
        "bloating",
        "no appetite",
        "cramps in the belly",
        "blood in the stool",
        "constipation",
        "a burning feeling in the stomach",
    ),
    "neurological": (
        "a splitting headache",
        "migraine with flashes",
        "numb fingers",
        "tingling in the arm",
        "dizzy spells",
        "blurred vision",
        "trembling hands",
        "forgetting words",
        "a seizure",
        "weak on one side",
        "unsteady on my feet",
    ),
}
_OPENING = (
    "I have",
    "since monday there is",
    "for three days now",
    "my mother has",
    "it began with",
    "please help me with",
    "again and again",
    "last night came",
)
_CLOSING = (
    "it will not go away",
    "should I worry",
    "paracetamol does not help",
    "I feel tired",
    "it is worse at night",
    "I could not sleep",
    "what should I do",
    "I had this before",
)


def terms() -> DataTerms:
    """Words in BUCKETS buckets."""
    return DataTerms(
        application=APPLICATION.id,
        text=TextTerms(column="text", buckets=BUCKETS),
        label="clinic",
        classes=tuple(_PHRASES),
    )


def sample(seed: int) -> Sample:
    """PATIENTS patients, one description each."""
    draw = np.random.default_rng([seed, 5])
    labels = draw.integers(0, len(_PHRASES), PATIENTS)
    texts = [_text(draw, int(label)) for label in labels]
    return Sample(np.array(texts), labels.astype(np.int64), np.arange(PATIENTS))


def _text(draw: np.random.Generator, label: int) -> str:
    clinics = list(_PHRASES.values())
    own = [str(phrase) for phrase in draw.choice(clinics[label], draw.integers(2, 5), False)]
    parts = [str(draw.choice(_OPENING)), *own]
    if draw.random() < 0.3:
        other = clinics[int(draw.integers(len(clinics)))]
        parts.append(("no " if draw.random() < 0.5 else "also ") + str(draw.choice(other)))
    parts.append(str(draw.choice(_CLOSING)))
    words = " ".join(parts).split()
    return " ".join(_misspelt(draw, word) if draw.random() < 0.06 else word for word in words)


def _misspelt(draw: np.random.Generator, word: str) -> str:
    place = int(draw.integers(len(word)))
    return word[:place] + word[place + 1 :]


PROVENANCE = Provenance(
    fields={
        "language": {"type": "string", "minLength": 2, "maxLength": 8},
        "written_by": text("simulation", "patients", "staff"),
        "clinic_by": text("simulation", "triage", "final diagnosis"),
        "names_removed": {"type": "boolean"},
    },
    origin={
        "language": "en",
        "written_by": "simulation",
        "clinic_by": "simulation",
        "names_removed": True,
    },
    use=Use(
        intended="Proposes the clinic that a description of symptoms belongs to; for study.",
        users="Researchers; booking staff who can send the patient elsewhere.",
        not_for="Emergencies, or telling a patient what the illness is.",
        factors="Language, spelling, several complaints at once.",
        caveats="The sentences are simulated: nothing is known of how patients write.",
    ),
    per_record={"descriptions": 1},
)

APPLICATION = Application(
    id="symptoms",
    title="Clinic from a description of symptoms",
    simulated=True,
    about="2400 simulated descriptions of symptoms",
    terms=terms,
    sample=sample,
    provenance=PROVENANCE,
    architecture="logistic",
    config={"features": BUCKETS, "classes": len(_PHRASES)},
    tuned=Tuned(rounds=6, steps=12, batch=96, learning_rate=8.0, clip=0.5),
)

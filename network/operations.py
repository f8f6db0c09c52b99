"""HTTPS to a hospital's own processes."""

from __future__ import annotations

from pathlib import Path

import requests

from network.topology import Hospital, Layout


def admin_session(layout: Layout, hospital: Hospital) -> requests.Session:
    """A session with the admin's TLS certificate."""
    user = layout.user(hospital.slug, "admin")
    return session(layout, hospital, user / "tls_certificate.pem", user / "tls_private_key.pem")


def session(layout: Layout, hospital: Hospital, certificate: Path, key: Path) -> requests.Session:
    """A session with a TLS certificate, trusting the hospital's own TLS authority alone."""
    made = requests.Session()
    made.trust_env = False
    made.cert = (str(certificate), str(key))
    made.verify = str(layout.hospital(hospital.slug) / "msp" / "tlscacerts" / "ca.pem")
    return made

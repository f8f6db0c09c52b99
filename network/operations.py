"""HTTPS to a hospital's own processes, as its admin."""

from __future__ import annotations

import requests

from network.topology import Hospital, Layout


def admin_session(layout: Layout, hospital: Hospital) -> requests.Session:
    """A session with the admin's TLS certificate, trusting the hospital's own TLS authority."""
    user = layout.user(hospital.slug, "admin")
    session = requests.Session()
    session.trust_env = False
    session.cert = (str(user / "tls_certificate.pem"), str(user / "tls_private_key.pem"))
    session.verify = str(layout.hospital(hospital.slug) / "msp" / "tlscacerts" / "ca.pem")
    return session

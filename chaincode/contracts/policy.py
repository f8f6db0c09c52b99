"""Endorsement policies of what hospitals own: renewed by their owner as members come and go."""

from __future__ import annotations

import json
from itertools import pairwise

from chaincode.contracts.framework import Context, transaction
from chaincode.schema import keys
from chaincode.schema.consortium import Consortium
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.policies import (
    RENEWAL_SECONDS,
    Membership,
    OldPolicy,
    Owned,
    OwnedKey,
    PolicyPage,
    PolicyPageArgs,
    Renewal,
    RenewPoliciesArgs,
    Standing,
    StandingArgs,
)
from chaincode.shim.endorsement import named, owner_and_majority, reachable
from chaincode.shim.stub import composite_key


class PolicyContract:
    """Nothing counts what a hospital owns: it says itself that it has renewed all, since it alone
    has the damage if it has not."""

    @transaction("policy:Renew")
    def renew(self, context: Context, args: RenewPoliciesArgs) -> Renewal:
        consortium, before = context.consortium(), _renewal(context, context.msp_id)
        wanted = owner_and_majority(context.msp_id, consortium.hospitals)
        names = [composite_key(*_owned(context, key)) for key in args.keys]
        stub = context.stub
        old = [name for name in names if stub.get_state_validation_parameter(name) != wanted]
        membership = consortium.membership if args.complete else before.membership
        if not old and membership == before.membership:
            raise MedFabricError(Code.ALREADY, "these policies are the members' already")
        for name in old:
            stub.set_state_validation_parameter(name, wanted)
        changes = {"membership": membership, "changed_at": context.now}
        renewal = before.model_copy(update=changes)
        context.put(keys.renewal(context.msp_id), renewal)
        context.emit("policy.renewed", msp_id=context.msp_id)
        return renewal

    @transaction("policy:Get")
    def get(self, context: Context, args: StandingArgs) -> Standing:
        membership = context.consortium().membership
        return Standing(membership=membership, renewal=_renewal(context, args.msp_id))

    @transaction("policy:List")
    def list(self, context: Context, args: PolicyPageArgs) -> PolicyPage:
        below = (args.msp_id,) if args.kind is Owned.NODE else ()
        entries, bookmark = context.page_entries(args.kind, below, args.page_size, args.bookmark)
        members = context.consortium().hospitals
        wanted = owner_and_majority(args.msp_id, (*members, args.msp_id))
        old = []
        for attributes, value in entries:
            name = composite_key(args.kind, attributes)
            policy = context.stub.get_state_validation_parameter(name)
            mine = json.loads(value)["msp_id"] == args.msp_id
            if mine and policy is not None and policy != wanted:
                key = OwnedKey(kind=args.kind, attributes=attributes)
                lost = not reachable(args.msp_id, named(policy), members)
                old.append(OldPolicy(key=key, lost=lost))
        return PolicyPage(old=tuple(old), bookmark=bookmark)


def put_members(context: Context, before: Consortium, members: set[str]) -> Consortium:
    """Change the consortium's members, and keep who they were from now on."""
    hospitals, number = tuple(sorted(members)), before.membership + 1
    changes = {"hospitals": hospitals, "membership": number}
    changed = before.model_copy(update=changes)
    context.put(keys.consortium(), changed)
    membership = Membership(number=number, hospitals=hospitals, since=context.now)
    context.put(keys.membership(number), membership)
    return changed


def check_departure(context: Context, leaving: str) -> None:
    """Refuse a departure that would make keys of those who stay unwritable for ever.

    Who had :data:`RENEWAL_SECONDS` to renew a policy is not waited for.

    Raises:
        MedFabricError: ``POLICIES_OLD``.
    """
    consortium = context.consortium()
    staying = tuple(h for h in consortium.hospitals if h != leaving)
    done = {h: _renewal(context, h).membership for h in staying}
    numbers = range(min(done.values()), consortium.membership + 1)
    kept = context.existing([keys.membership(number) for number in numbers], Membership)
    waiting = {
        owner
        for old, new in pairwise(kept)
        for owner in staying
        if old.number >= done[owner]
        and context.now <= new.since + RENEWAL_SECONDS
        and reachable(owner, old.hospitals, consortium.hospitals)
        and not reachable(owner, old.hospitals, staying)
    }
    if waiting:
        raise MedFabricError(
            Code.POLICIES_OLD,
            f"without {leaving} nobody could write what {', '.join(sorted(waiting))} wrote before "
            "members changed; let them renew their policies first",
        )


def _renewal(context: Context, msp_id: str) -> Renewal:
    found = context.find(keys.renewal(msp_id), Renewal)
    return found or Renewal(msp_id=msp_id, membership=1, changed_at=0)


def _owned(context: Context, key: OwnedKey) -> keys.Key:
    """An asset's key, if it is the caller's hospital's.

    Raises:
        MedFabricError: ``NOT_FOUND`` or ``NOT_OWNER``.
    """
    name = (key.kind.value, key.attributes)
    (value,) = context.values([name])
    shown = f"{key.kind} {'/'.join(key.attributes)}"
    if value is None:
        raise MedFabricError(Code.NOT_FOUND, f"no {shown}; list the policies again")
    owner = json.loads(value)["msp_id"]
    if owner != context.msp_id:
        raise MedFabricError(Code.NOT_OWNER, f"{shown} belongs to {owner}; its nodes renew it")
    return name

"""Judges speech offline: a candidate beside a reference, or by itself.

panel = Panel(instruments())
reference = prepare(program, prompts, request, panel)  # once
judged = judge(reference, candidate, panel)  # for every candidate
judged.change(mos.MOS).loss, [agreement.top1 for agreement in judged.agreements]
"""

"""Two texts of one alert: written, confirmed, watched and chosen at the desk."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from service.model.notifications import Audience, Content, Outcome, State
from service.model.operations.promises import is_promised
from service.model.two_texts import SecondText, text_of
from service.runtime import Runtime
from service.store.alerts.outcomes import Result
from service.store.alerts.receipt_counts import ReceiptRow
from service.store.sending.batches import Claim
from tests.support.desk.pages import (
    EMAIL,
    STORY,
    FormFields,
    Page,
    correct,
    hidden_fields,
    only,
    open_form,
    post,
    review,
    submit,
    words,
)
from tests.support.processes.as_workers import record_all

B = {"title_b": "Ferry runs aground", "body_b": "Everybody is safe.", "sample": "20"}
PERCENT = 50


@pytest.fixture
def trial(runtime: Runtime, readers: int) -> int:
    """An alert with two texts, which the sample has."""
    second = SecondText("Ferry runs aground", "", PERCENT, 15)
    content = Content("Ferry aground", "https://paper.example/ferry")
    publishing = runtime.publishing
    audience = Audience(everyone=True)
    id = publishing.publish(content, audience, by=EMAIL, second_text=second).id
    send(runtime, id)
    return id


def send(runtime: Runtime, id: int, service: str = "google") -> None:
    """Record that all to whom the alert goes now have it, as workers do."""

    def results(claim: Claim) -> dict[Result, list[int]]:
        found: dict[Result, list[int]] = {}
        for number in claim.pending:
            text = text_of(id, claim.batch.partition, number, PERCENT)
            silent = service == "apple"
            result = Result(Outcome.ACCEPTED, service, 1, 0, text=text, silent=silent)
            found.setdefault(result, []).append(number)
        return found

    record_all(runtime, id, results)


def click(runtime: Runtime, id: int, text: str, times: int) -> None:
    """Count so many clicks on a text."""
    rows = [ReceiptRow(id, f"clicked:{text}", f"{text} {number}") for number in range(times)]
    runtime.store.receipt_counts.count(rows, 60)


def test_two_texts_are_written_confirmed_and_sent_as_one_alert(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    confirm = review(editor, **B)
    assert confirm.status_code == 200
    Page(confirm.text)
    shown = words(confirm.text)
    each = round(readers * 26 / 256)
    assert f"About {each} browsers get text A, and as many text B. After 15 minutes" in shown
    assert f"the other {readers - 2 * each} get the one with more clicks" in shown
    assert confirm.text.count('<figure class="preview') == 2
    assert B["title_b"] in confirm.text
    sent = editor.post("/desk/alerts", data=hidden_fields(confirm.text))
    assert sent.status_code == 303
    one = only(runtime)
    assert one.second_text == SecondText(B["title_b"], B["body_b"], 20, 15)
    assert one.state is State.SENDING
    page = editor.get("/desk/").text
    assert page.count(f'id="row-{one.id}"') == 1
    assert "Second text: Ferry runs aground" in words(page)


def test_large_samples_are_written_like_other_numbers(
    editor: FlaskClient, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.publishing, "reach", lambda audience: 256_000)
    text = words(review(editor, **B).text)
    assert "Try two texts on 52,000 of 256,000 browsers" in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "breaking"}, "Breaking news goes to everyone at once"),
        ({"spread": "10"}, "Two texts cannot be tried while the alert is spread"),
        ({"ttl": "900"}, "would run out of time before one of its texts is chosen"),
        ({"title_b": ""}, "Write title B, or leave both fields of text B empty."),
        ({"title_b": STORY["title"], "body_b": STORY["body"]}, "Is the same as the first text"),
    ],
    ids=str,
)
def test_what_does_not_go_with_two_texts_is_said_at_the_field(
    editor: FlaskClient, runtime: Runtime, readers: int, changes: dict[str, str], says: str
) -> None:
    answer = review(editor, **{**B, **changes})
    assert answer.status_code == 422
    assert says in words(answer.text)
    assert re.search(r'id="title_b"[^>]* aria-invalid="true"', answer.text)
    assert runtime.publishing.latest(10) == []


def test_a_text_that_only_repeats_the_first_is_no_second_one(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    confirm = review(editor, body_b=STORY["body"])  # as the page fills it in
    editor.post("/desk/alerts", data=hidden_fields(confirm.text))
    assert only(runtime).second_text is None


def test_a_draft_keeps_both_texts_and_opens_with_them(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    submit(editor, open_form(editor), **STORY, **B, when="draft")
    one = only(runtime)
    assert one.state is State.DRAFT
    assert one.digest, "for which an approval holds"
    page = editor.get(f"/desk/alerts/{one.id}").text
    Page(page)
    assert "20 % of the browsers get text A or text B" in words(page)
    early = post(editor, f"/desk/alerts/{one.id}/choose", page=f"/desk/alerts/{one.id}", text="B")
    assert (early.status_code, only(runtime).decision) == (409, None)
    assert "nobody has either text yet" in words(early.text)
    form = open_form(editor, f"/desk/alerts/{one.id}/edit")
    fields = FormFields(form).fields
    assert {name: fields[name] for name in B} == {name: [value] for name, value in B.items()}
    assert "“Ferry runs aground” on 20 %, for 15 minutes" in form
    submit(editor, form, **{**fields, "title_b": "", "body_b": ""})
    assert only(runtime).second_text is None
    assert only(runtime).digest != one.digest


def test_the_page_shows_how_both_do_and_what_that_is_worth(
    editor: FlaskClient, runtime: Runtime, trial: int
) -> None:
    assert "This ends the test" in editor.get(f"/desk/alerts/{trial}/correct").text
    page = editor.get(f"/desk/alerts/{trial}").text
    Page(page)
    a, b = runtime.text_choice.tried(runtime.publishing.get(trial))
    assert 10 < a.accepted < 40
    assert f"A Ferry aground {a.accepted} 0 0 %" in words(page)
    assert f"B Ferry runs aground {b.accepted} 0 0 %" in words(page)
    assert (
        "better text in 15 minutes. There are no clicks yet, so as it stands that is text A."
        in words(page)
    )
    assert "by chance" not in page
    assert not is_promised(runtime.publishing.get(trial)), "most readers wait by intent"
    click(runtime, trial, "A", 2)
    click(runtime, trial, "B", b.accepted)
    shown = words(editor.get(f"/desk/alerts/{trial}/progress").text)
    assert "As it stands that is text B." in shown
    assert "100 %" in shown
    assert (
        "comes by chance in fewer than 1 of 1,000 such tests, so it is probably not chance."
        in shown
    )


def test_an_editor_sends_a_text_by_hand_and_the_log_names_who(
    editor: FlaskClient, runtime: Runtime, trial: int
) -> None:
    address = f"/desk/alerts/{trial}"
    before = words(editor.get(address).text)
    assert "Send text A to all others" in before
    assert "get “ Ferry runs aground ”, and the test ends. This cannot be undone." in before
    assert "After 15 minutes all others get the one with more clicks" in before
    for _ in range(2):  # a double click
        answer = post(editor, f"{address}/choose", page=address, text="B")
        assert (answer.status_code, answer.location) == (303, address)
    late = post(editor, f"{address}/choose", page=address, text="A")
    assert late.status_code == 409
    assert "chosen already" in words(late.text)
    page = editor.get(address).text
    Page(page)
    assert "Send text A to all others" not in page
    assert f"Text B went to all others: {EMAIL} chose it" in words(page)
    assert f"{EMAIL} chose the text for all others: text B" in words(page)
    assert '<h1 dir="auto">Ferry runs aground</h1>' in page
    assert "Before it was corrected" not in page
    assert "all others get the one with more clicks" not in page
    assert f'id="row-{trial}"' in editor.get("/desk/search?q=runs").text, "also by the second text"
    send(runtime, trial)
    runtime.planning.advance(trial)
    one = runtime.publishing.get(trial)
    assert one.state is State.SENT
    assert runtime.publishing.progress(trial).of(Outcome.ACCEPTED) == 100
    shown = words(editor.get("/desk/").text)
    assert "Ferry runs aground Tried against: Ferry aground" in shown
    for nonsense in ("", "C", "A\n"):
        assert post(editor, f"{address}/choose", page=address, text=nonsense).status_code == 400


@pytest.mark.parametrize("clicks", [0, 1])
def test_the_page_says_why_the_clock_chose_a_text(
    editor: FlaskClient, runtime: Runtime, trial: int, clicks: int
) -> None:
    click(runtime, trial, "A", clicks)
    runtime.text_choice.choose(trial, "A", by="")
    shown = words(editor.get(f"/desk/alerts/{trial}").text)
    assert ("Nobody clicked, so text A went to all others at" in shown) is (clicks == 0)
    assert ("Text A went to all others: Stop Press chose it" in shown) is (clicks > 0)


@pytest.mark.parametrize("chosen", ["", "A", "B"])
def test_a_wrong_text_is_corrected_to_the_other_one(
    editor: FlaskClient, runtime: Runtime, trial: int, chosen: str
) -> None:
    if chosen:
        runtime.text_choice.choose(trial, chosen, by=EMAIL)
    reached = runtime.corrections.reached(runtime.publishing.get(trial))
    title = runtime.publishing.get(trial).text.title
    assert correct(editor, trial, title=title).status_code == 303
    one = runtime.publishing.get(trial)
    assert (one.text.title, one.revision) == (title, 1)
    (correction,) = one.corrections
    runtime.planning.plan(runtime.publishing.get(correction))
    assert runtime.publishing.progress(correction).recipients == reached > 0
    again = correct(editor, trial, title=title)
    assert (again.status_code, "Nothing has changed yet" in again.text) == (422, True)


def test_apples_browsers_are_left_out_and_named(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    second = SecondText("Ferry runs aground", "", PERCENT, 15)
    content = Content("Ferry aground", "https://paper.example/ferry")
    audience = Audience(everyone=True)
    id = runtime.publishing.publish(content, audience, by=EMAIL, second_text=second).id
    send(runtime, id, service="apple")
    sample = runtime.publishing.progress(id).done
    shown = words(editor.get(f"/desk/alerts/{id}").text)
    assert "A Ferry aground 0 not reported" in shown
    assert f"Left out: {sample} browsers of Apple, where clicks are not reported." in shown


def test_use_again_keeps_both_texts_only_while_none_is_chosen(
    editor: FlaskClient, runtime: Runtime, trial: int
) -> None:
    assert "“Ferry runs aground” on 50 %" in open_form(editor, f"/desk/new?again={trial}")
    runtime.text_choice.choose(trial, "B", by=EMAIL)
    fields = FormFields(open_form(editor, f"/desk/new?again={trial}")).fields
    assert (fields["title"], fields["title_b"]) == (["Ferry runs aground"], [""])

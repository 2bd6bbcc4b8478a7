"""How long stored data is kept: every lifetime of this service, in one place.

Six things have no lifetime here:

- A subscription (endpoint, keys, preferences, the days of subscribing and of the last visit) is
  kept until the reader leaves, the push service says that the browser is gone, the host of the
  push service seems to be made up (UNPROVEN_KEPT), or the reader did not visit for
  RETIRE_AFTER_DAYS, a setting, and did not answer. Then its record and its bit in every list are
  deleted; what the rows below name ends by itself.
- While an alert is being sent, one bit each says that it is for a reader and that its outcome is
  known; for readers who are tried again, how often that was. All of it goes when the send is over.
- The log of alerts, which names the editors who did something with them, is kept for
  ALERT_LOG_KEPT_DAYS, a setting; and until they release it, who has stopped everything.
- Alerts with their reports, templates (with who saved them when), topics and feeds (with who added
  them when, and what became of their latest items) belong to the newsroom;
  so do editors (e-mail address, password hash, role, who added them when, when they last signed in,
  the sealed secret of two-step sign-in, the public halves of passkeys with names and when they were
  added and last used), API tokens (name, scopes, who made them when, when they
  were last used), webhooks and publish hooks (address or name, sealed secret, who added them when,
  what came of the last ten calls). None of them names a reader. An event waits for a webhook until
  it is taken, or was tried ten times.
- Totals of `shown`, `clicked` and `dismissed` are kept for RECEIPTS_KEPT_DAYS, a setting. Each is
  a HyperLogLog, from which no reader can be read out. Beside them are tallies by push service,
  language, topic, hour and time, and of readers who left after an alert. While two texts of an
  alert are tried, clicks are counted for each text, in the same way.
- Totals of each day are kept for ever: how many readers there were, joined and left; how many
  alerts they got; what was handed over and clicked, by topic and hour.

All other data about persons ends by itself. Times are in seconds.
"""

MINUTE = 60
DAY = 86_400

# -- about one reader -----------------------------------------------------------------------------

# That a push service took an alert for this reader, one bit for each alert.
# Why: a correction must reach exactly those readers.
ACCEPTED_KEPT = 7 * DAY

# That this reader clicked an alert, one bit for each alert, from the first click of any reader on
# it. Only with the setting CLICK_AUDIENCES. It goes earlier when the reader leaves, or wants
# nothing counted.
# Why: the newsroom chose to send to readers by what they clicked.
CLICKED_KEPT = 7 * DAY

# That this reader, who had not visited for long, was asked whether to keep the alerts, one bit.
# Only with the setting RETIRE_AFTER_DAYS. It goes earlier once all are retired who did not answer.
# Why: no reader ends who was not asked. Ninety days to answer, and some for a clock that was down.
ASKED_KEPT = 120 * DAY

# That an alert is held for this reader until quiet hours end, one bit for each alert.
# Why: the alert is sent in the morning. The longest quiet time is one day.
HELD_KEPT = 2 * DAY

# How many alerts this reader had on one date, a number from 0 to 15.
# Why: the daily limit. Three days, because a date begins and ends at other times elsewhere.
COUNTS_KEPT = 3 * DAY

# That an alert is included in that number, one bit for each alert and date.
# Why: a worker that was killed and starts again must not count the alert twice.
COUNTED_KEPT = DAY

# A ten-byte digest of the endpoint of a reader who left.
# Why: a page that still holds the old subscription must not subscribe this reader again.
LEFT_KEPT = 30 * DAY

# The record of a reader whose browser the push service called gone. No alert is sent meanwhile.
# Why: a push service that calls very many browsers gone at once may be wrong. An editor decides
# then, and the records are kept until the decision.
GONE_KEPT = MINUTE

# The numbers of readers who have just subscribed, in steps of ten seconds.
# Why: a push service may call a new endpoint gone for a few seconds; it is tried again meanwhile.
YOUNG_KEPT = 10 * MINUTE

# That a push service which has never accepted a message was asked for this reader and accepted
# nothing, one bit from the last time on; not less than UNPROVEN_KEPT.
# Why: strangers can make up such hosts, and what they subscribed there is then removed.
IN_VAIN_KEPT = 7 * DAY

# That this reader was taken over from another service, and that no push service has accepted an
# alert of ours for them since, one bit from the last import on.
# Why: in old lists many browsers are gone. That they are must not make us doubt the push service.
UNTRIED_KEPT = 30 * DAY

# That a browser is an editor's own: the number of its subscription, the editor, the names of
# browser and system, a digest of its keys, when it was paired and last used; from the last test on.
# Its reader has agreed in that browser, and the editor can unpair it at any time.
# Why: an editor sees an alert on the own phone first.
PAIRED_KEPT = 180 * DAY

# A test alert to one browser, whether a reader, an editor or a tool asked for it, or a welcome; it
# contains the reader's number.
# Why: until then the reader's browser can report on it.
READERS_TEST_KEPT = DAY

# How often one network address called, under a code (HMAC) that cannot be turned back.
# Why: rate limits.
RATE_KEPT = MINUTE

# Which welcomes and tests one network address asked for, under the same code, while they are being
# sent. The next welcome or test clears it away; if none comes, it goes after this time.
# Why: a stranger could ask for so many that no room is left for readers.
CALLERS_KEPT = 15 * MINUTE

# How many hosts of push services that nobody else used one address named, and on how many sections
# of the site it was the first of a day to be asked, under the same code.
# Why: a stranger could make up so many that no room is left for readers.
NEW_HOSTS_KEPT = DAY

# -- about editors and the newsroom's tools -------------------------------------------------------

# The digest of a one-time sign-in link; its editor has one at most.
SIGN_IN_LINK_KEPT = DAY

# The session of an editor: the digest of a random id, the e-mail address, the names of browser and
# system, the last visit and the end.
# Why: signing out and a new password end it at once. It ends after a day without a visit to the
# desk, and after a week in any case: an editor who works daily signs in once a week.
SESSION_IDLE = DAY
SESSION_KEPT = 7 * DAY

# That an editor has entered the password and not yet the code, in the editor's own cookie.
HALFWAY_KEPT = 5 * MINUTE

# That an editor has gone to an OpenID Connect provider, in that browser's own cookie.
PROVIDER_BEGUN_KEPT = 10 * MINUTE

# What a passkey is to sign, in that browser's own cookie; and that it was signed, as a digest.
# Why: each counts once, and for so long.
CHALLENGE_KEPT = 5 * MINUTE

# The sealed secret and recovery codes of two-step sign-in, until the editor has entered a first
# code, and then for as long as that code could be entered again.
TWO_STEP_BEGUN_KEPT = 15 * MINUTE
TWO_STEP_REPEATED = 2 * MINUTE

# The digest of a code that pairs an editor's own browser with the desk, with the editor's address.
# Why: it works once, and for so long.
PAIRING_CODE_KEPT = 2 * MINUTE

# What is to be stored of that browser, until the editor confirms at the desk whose it is.
PAIRING_KEPT = 10 * MINUTE

# Attempts to sign in as an editor, under a code (HMAC) of the e-mail address.
# Why: passwords are guessed slowly from many networks too.
GUESSES_KEPT = 15 * MINUTE

# That an editor signed in from a network, under a code (HMAC) of both.
# Why: while strangers guess an editor's password, the editor can sign in from where they work.
NETWORK_KEPT = 30 * DAY

# What an editor is writing and has neither sent nor saved as a draft, since its last change.
# Why: nothing that was typed is lost. Only its writer sees it.
UNFINISHED_KEPT = 30 * DAY

# That an editor is changing a planned alert, since the last change.
# Why: two editors who change the same alert see each other's names.
WRITERS_SEEN = 2 * MINUTE

# The answer to a request that had an `Idempotency-Key`. For a form of the desk it is kept as long
# as the form may be (UNFINISHED_KEPT).
# Why: the same request, sent again, gets the same answer and publishes nothing twice.
IDEMPOTENCY_KEPT = DAY

# Which alert a tool's own reference leads to.
# Why: a CMS that saves a story again changes the alert that is planned for it, or learns that it
# was sent.
REFERENCE_KEPT = 400 * DAY

# Which alert a tool published with `once_per_link`, under a digest of its link.
# Why: no second one with this link within a day, also if two calls come at once.
LINK_KEPT = DAY

# -- about no person: numbers of readers ----------------------------------------------------------

# The last number that a subscription got before each day, in each partition, and which numbers an
# import gave to readers who are not new. It is in days.
# Why: "subscribed in the last N days", 366 at most.
JOINED_KEPT_DAYS = 400

# -- about no person: how sending goes ------------------------------------------------------------

# The counts of a finished send, in each partition; the report has them by then.
# Why: an outcome that arrives late must find the send closed.
CLOSED_SEND_KEPT = 7 * DAY

# How many messages each push service answered within ten seconds.
# Why: push services are judged by the answers of a minute, by a clock that was away afterwards too.
RESPONSES_KEPT = 60 * MINUTE

# How many messages push services answered on a day, how long each took, and workers' work.
# Why: the operator learns how many workers an alert to everyone needs.
SPEED_KEPT = 8 * DAY

# How many messages a push service with a rate limit may get now.
# Why: what is saved up while nothing is sent is used up within two seconds.
TOKEN_BUCKET_KEPT = 2 * MINUTE

# The pace at which a push service with a rate limit gets messages, from the last "429" on.
# Why: Chrome's shortest penalty lasts a day.
PACE_KEPT = DAY

# That a push service failed, from the end of its last rest on.
# Why: the next alert tries it with one message first, and not with many.
REST_KEPT = 60 * MINUTE

# A queued job that failed, with the error; a job contains no data of readers.
# Why: the operator reads the error.
FAILED_JOB_KEPT = DAY

# Which causes were reported to ALERT_WEBHOOK, in our words, and what the last ten calls were
# answered; from the last change on.
# Why: a cause is reported once, also by another clock; one that lasts longer, again.
CAUSES_KEPT = 90 * DAY

# What browsers named and we do not know: hosts of push services, languages, time zones. No more
# than 100 of each, and nothing of who named them.
# Why: the operator sees which push service or update is missing.
UNKNOWN_KEPT = 30 * DAY

# How long a process may know a push service's number without looking it up again.
# Why: a number whose readers have left is given to another push service, later than that.
NAMES_KNOWN = 10 * MINUTE

# The number of a host where nobody is left, before another host gets it.
# Why: no process, and no record that was being written then, may mean the old one by it.
HOST_RETIRED_KEPT = 2 * DAY

# A host that a stranger can make up, with those of its subscriptions for which it was asked and
# accepted nothing: a week of alerts. When many are made up, it is an hour after the next alert.
UNPROVEN_KEPT = 7 * DAY
UNPROVEN_TRIED = 60 * MINUTE

# Where many such hosts are made up, also a subscription there for which the host was never asked,
# such as a paused one, and whose browser has not visited for so long.
# Why: strangers would hold the room of such hosts for ever, without doing anything more.
UNPROVEN_UNSEEN = 30 * DAY

# How often pages asked whether a reader wants alerts, and how far that went, by part of the site;
# nothing of who was asked.
# Why: the newsroom compares a month with that of the year before.
QUESTIONS_KEPT = 400 * DAY

# -- about articles -------------------------------------------------------------------------------

# What the page behind a link of an alert said of itself, and the link.
# Why: the form is filled in from it, and the confirmation says what is wrong with the link.
ARTICLE_KEPT = 60 * MINUTE

# How long this counts as new, so that the page is not asked again.
# Why: the form and its confirmation ask for the same link, one after the other.
ARTICLE_NEW = MINUTE

# -- about feeds ----------------------------------------------------------------------------------

# What a fetch process is to read for a feed, and what it has read.
# Why: the clock takes it within a second, or asks again after a minute.
FEED_REQUEST_KEPT = 10 * MINUTE

# The subscription at the hub of a feed that was removed.
# Why: the hub asks whether we mean it, and the answer has to be yes.
FEED_LEAVING_KEPT = 60 * MINUTE

# -- about webhooks -------------------------------------------------------------------------------

# A call to a webhook that the fetch process is to make, with what came of it.
# Why: the next call is made when this one is answered, or is lost with a process that was killed.
CALL_KEPT = 2 * MINUTE

# What a call of a publish hook was answered.
# Why: the same call, sent again, gets the same answer, as long as its signature holds: that is made
# up to five minutes ahead of us, and counts for five minutes after.
HOOK_CALL_SEEN = 10 * MINUTE

# Digests of what a publish hook was sent about a story, where its signature has no time.
# Why: a text that comes again is a recorded call, which a stranger sends; it changes nothing.
HOOK_TEXTS_SEEN = REFERENCE_KEPT

# -- about sites ----------------------------------------------------------------------------------

# An origin whose pages load our script although SITE_ORIGINS does not name it.
# Why: the doctor tells the operator, who may have forgotten one of the newsroom's own.
REFUSED_ORIGINS_KEPT = 7 * DAY

# When a page of an origin that SITE_ORIGINS names called us last.
# Why: who sets up the newsroom's pages sees on the start page that they have our script.
SEEN_ORIGINS_KEPT = 7 * DAY

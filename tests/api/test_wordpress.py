"""The plug-in for WordPress, in a real WordPress, against the real application.

The same in a browser is in tests/browser/test_wordpress.py.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from flask import request

from service.model.notifications import Notification, State
from tests.support.browser.served import Served
from tests.support.client import Client, Reader
from tests.support.network.relay import Relay
from tests.support.wordpress import PLUGIN, ROOT, WordPress
from workers.trials.processes import free_port

DESK_LINES = PLUGIN.parents[1] / "desk" / "lines"
TITLE = "Ferry aground"
PHP_WASM = "3.1.56"

HELPERS = """
function post( $fields = array() ) {
    return wp_insert_post( array_merge( array(
        'post_title'   => 'Ferry aground',
        'post_content' => 'All are safe.',
        'post_status'  => 'publish',
        'post_author'  => 1,
        'meta_input'   => array( '_stop_press_alert' => '1', '_stop_press_topics' => 'world' ),
    ), $fields ), true );
}
function change( $id, $fields ) {
    wp_update_post( array_merge( array( 'ID' => $id ), $fields ) );
    return $id;
}
function in_an_hour( $more = 0 ) {
    $at = gmdate( 'Y-m-d H:i:s', time() + 3600 + $more );
    $dates = array( 'post_date' => $at, 'post_date_gmt' => $at, 'edit_date' => true );
    return array( 'post_status' => 'future' ) + $dates;
}
function state( $id ) {
    return StopPress\\state_of( $id );
}
"""
# A minute has passed: what WP-Cron does then, for a post.
AGAIN = "delete_transient( 'stop_press_down' ); do_action( 'stop_press_again', {0} );"


class Press:
    """A Stop Press with one reader, and the WordPress that is set up for it."""

    def __init__(self, client: Client, wordpress: WordPress) -> None:
        self.client, self.wordpress = client, wordpress
        self.calls: list[str] = []
        self.token = client.add_token("WordPress", ["send"])
        client.app.before_request(self._note)
        Reader(client, topics=["world"])
        self.calls.clear()

    def _note(self) -> None:
        self.calls.append(f"{request.method} {request.path.removeprefix('/api/v1')}")

    def set_up(self, address: str) -> None:
        self.address = address
        self.wordpress.reset(address, self.token)

    def run(self, code: str) -> Any:
        return self.wordpress.run(HELPERS + code)

    def alerts(self) -> list[Notification]:
        return self.client.runtime.publishing.latest(50)

    def alert(self) -> Notification:
        """Return the one alert that there is."""
        (one,) = self.alerts()
        return one


@pytest.fixture
def press(client: Client, wordpress: WordPress) -> Iterator[Press]:
    press = Press(client, wordpress)
    with Served(client.app) as served:
        press.set_up(f"http://127.0.0.1:{served.port}")
        yield press


@pytest.mark.parametrize("name", ["sw.js", "page.js"])
def test_the_plug_in_has_the_lines_of_the_guide(name: str) -> None:
    lines = (PLUGIN / "lines" / name).read_text()
    if name == "page.js":
        guide = (DESK_LINES / "page.html").read_text()
        assert lines.strip() == guide[guide.index(">") + 1 : guide.index("</script>")].strip()
    else:
        assert lines == (DESK_LINES / name).read_text()


def test_a_post_is_alerted_once_and_never_on_an_update(press: Press) -> None:
    found = press.run("""
        $id = post( array(
            'post_title'   => 'Cod &amp; chips: “it&#8217;s <em>over</em>”',
            'post_content' => '<!-- wp:paragraph --><p>All&nbsp;are [gallery ids="1"] '
                . 'safe &lt;now&gt;.</p><!-- /wp:paragraph -->',
        ) );
        $first = state( $id );
        $link = get_permalink( $id );
        change( $id, array( 'post_title' => 'Another title' ) );
        foreach ( array( 'draft', 'private', 'pending' ) as $status ) {
            change( $id, array( 'post_status' => $status ) );
            change( $id, array( 'post_status' => 'publish' ) );
        }
        wp_trash_post( $id );
        wp_untrash_post( $id );
        wp_publish_post( $id );
        return array( $first, $link, state( $id )['id'] );
    """)
    one = press.alert()
    assert (found[0]["status"], found[0]["id"], found[2]) == ("sent", str(one.id), str(one.id))
    assert one.state is State.SENDING
    assert one.content.title == "Cod & chips: “it’s over”"
    assert one.content.body == "All are safe <now>."
    assert one.content.url == found[1]
    assert one.audience.topics == ("world",)
    assert press.calls == ["POST /notifications"]


def test_a_post_is_alerted_when_every_reader_can_open_it(press: Press) -> None:
    silent = """
        post( array( 'post_status' => 'draft' ) );
        post( array( 'post_type' => 'page' ) );
        post( array( 'meta_input' => array( '_stop_press_alert' => '0' ) ) );
        post( array( 'meta_input' => array() ) );
        $id = post( array( 'post_status' => 'private', 'post_title' => 'Was private' ) );
        $protected = post( array( 'post_password' => 'secret', 'post_title' => 'Was protected' ) );
        wp_save_post_revision( $id );
        $autosaved = array( 'post_title' => 'Autosaved', 'post_content' => '', 'post_author' => 2 );
        wp_create_post_autosave( array( 'post_ID' => $id ) + $autosaved );
        return array( $id, $protected );
    """
    private, protected = press.run(silent)
    imported = press.run("define( 'WP_IMPORTING', true ); return post();")
    assert press.alerts() == []
    assert press.calls == []
    press.run(f"""
        change( {private}, array( 'post_status' => 'publish' ) );
        change( {protected}, array( 'post_password' => '' ) );
        change( {imported}, array( 'post_title' => 'Imported' ) );
    """)
    assert [one.content.title for one in press.alerts()] == ["Was protected", "Was private"]


def test_posts_of_chosen_categories_are_alerted_by_themselves(press: Press) -> None:
    status, message, shown = press.run("""
        $category = wp_create_category( 'Breaking' );
        update_option( 'stop_press', array( 'topics' => array( $category => 'sport' ),
            'automatic' => array( $category ) ) + get_option( 'stop_press' ) );
        $given = array( 'post_category' => array( $category ), 'meta_input' => array() );
        post( array( 'post_title' => 'From a script' ) + $given );
        wp_set_current_user( 1 );
        foreach ( array( 'By REST' => '', 'REST without' => '0' ) as $title => $said ) {
            $request = new WP_REST_Request( 'POST', '/wp/v2/posts' );
            $request->set_body_params( array( 'title' => $title, 'status' => 'publish',
                'categories' => array( $category ),
                'meta' => array( '_stop_press_alert' => $said ) ) );
            $id = rest_do_request( $request )->get_data()['id'];
        }
        wp_set_current_user( 0 );
        $shown = rest_do_request( new WP_REST_Request( 'GET', "/wp/v2/posts/$id" ) )->get_data();
        $past = array( 'post_date' => '2015-03-29 18:00:00' );
        post( array( 'post_title' => 'Of long ago' ) + $past + $given );
        $_REQUEST['bulk_edit'] = 'Update';
        post( array( 'post_title' => 'Of many' ) + $given );
        unset( $_REQUEST['bulk_edit'] );
        for ( $number = 3; $number <= 12; $number++ ) {
            $last = post( array( 'post_title' => "Number $number" ) + $given );
        }
        return array( state( $last )['status'], state( $last )['message'], (array) $shown['meta'] );
    """)
    alerts = [one.content.title for one in press.alerts()][::-1]
    assert alerts == ["From a script", "By REST", *(f"Number {number}" for number in range(3, 11))]
    assert {one.audience.topics for one in press.alerts()} == {("sport",)}
    assert status == "failed"
    assert "More than 10 posts" in message
    assert [name for name in shown if "stop_press" in name] == [], "readers may see it"


def test_a_planned_post_is_planned_at_stop_press_and_kept_in_step(press: Press) -> None:
    id = press.run("return post( in_an_hour() );")
    one = press.alert()
    assert one.state is State.SCHEDULED
    at, link = press.run(f"return array( state( {id} )['at'], get_bloginfo( 'url' ) );")
    assert one.send_at is not None
    assert one.send_at.at == at
    assert one.content.url == f"{link}/ferry-aground/"
    assert press.calls == ["POST /notifications"]
    press.run(f"change( {id}, array( 'comment_status' => 'closed' ) );")
    assert len(press.calls) == 1, "the alert is as it was"
    at = press.run(f"""
        change( {id}, array( 'post_title' => 'Ferry afloat' ) + in_an_hour( 60 ) );
        return state( {id} )['at'];
    """)
    assert at > one.send_at.at
    changed = press.alert()
    assert changed.send_at is not None
    assert (changed.id, changed.content.title) == (one.id, "Ferry afloat")
    assert changed.send_at.at == at
    press.run(f"change( {id}, array( 'post_status' => 'draft', 'edit_date' => true ) );")
    assert press.alerts() == []
    press.run(f"change( {id}, in_an_hour() ); wp_trash_post( {id} );")
    assert press.alerts() == []
    press.run(f"wp_untrash_post( {id} ); change( {id}, in_an_hour() );")
    assert press.alert().state is State.SCHEDULED
    press.run(f"wp_delete_post( {id}, true );")
    assert press.alerts() == []
    early = press.run("return wp_publish_post( $id = post( in_an_hour() ) ) ?? $id;")
    assert press.alert().state is State.SENDING, "it was published before its time"
    press.run(f"change( {early}, array( 'post_title' => 'An update' ) );")
    assert press.alert().content.title == TITLE


def test_a_planned_alert_goes_out_once_whoever_is_first(press: Press) -> None:
    id = press.run("return post( in_an_hour() );")
    publishing = press.client.runtime.publishing
    one = press.alert()
    assert one.send_at is not None
    due = replace(one.send_at, at=time.time() - 5)
    publishing.change(one, one.content, one.audience, by="a test", send_at=due)
    # Its time comes: the post's too.
    press.run(f"""
        global $wpdb;
        $at = time() - 5;
        $past = gmdate( 'Y-m-d H:i:s', $at );
        $dates = array( 'post_date' => $past, 'post_date_gmt' => $past );
        $wpdb->update( $wpdb->posts, $dates, array( 'ID' => {id} ) );
        StopPress\\keep( state( {id} ), array( 'at' => $at ) );
        update_option( 'stop_press_due', array( {id} => $at ) );
    """)
    press.calls.clear()
    # The first request of any page publishes the post, without waiting for Stop Press.
    assert press.run(f"return get_post_status( {id} );") == "publish"
    assert press.calls == []
    publishing.send_due()
    looked = f"do_action( 'stop_press_again', {id} ); return state( {id} )['status'];"
    assert press.run(looked) == "sent"
    assert press.run(f"change( {id}, array( 'post_title' => 'An update' ) ); {looked}") == "sent"
    assert (press.alert().id, press.alert().state) == (one.id, State.SENDING)
    assert press.calls == [f"GET /notifications/{one.id}"]


def test_of_two_posts_that_are_planned_at_once_each_is_published_on_time(press: Press) -> None:
    due = press.run("""
        global $wpdb;
        $one  = post( in_an_hour() );
        $more = get_option( 'stop_press_due' ) + array( 4711 => time() + 60 );
        $row  = array( 'option_value' => serialize( $more ) );
        // Another request plans a post, after this one has read its options.
        $wpdb->update( $wpdb->options, $row, array( 'option_name' => 'stop_press_due' ) );
        $two  = post( in_an_hour() );
        wp_delete_post( $one, true );
        wp_cache_flush();
        return array( $two, array_keys( get_option( 'stop_press_due' ) ) );
    """)
    assert sorted(due[1]) == sorted([due[0], 4711])


def test_an_alert_that_an_editor_deleted_stays_away(press: Press) -> None:
    id = press.run("return post( in_an_hour() );")
    press.client.runtime.publishing.remove(press.alert().id, by="an editor")
    press.run(f"change( {id}, array( 'post_title' => 'Another' ) ); wp_publish_post( {id} );")
    assert press.alerts() == []
    assert press.run(f"return state( {id} )['status'];") == "withdrawn"


def test_a_post_is_published_while_stop_press_is_down(client: Client, wordpress: WordPress) -> None:
    press, port = Press(client, wordpress), free_port()
    press.set_up(f"http://127.0.0.1:{port}")
    one, other, planned = press.run("""
        wp_set_current_user( 1 );
        return array( post(), post( array( 'post_title' => 'Given up' ) ), post( in_an_hour() ) );
    """)
    shown = f"""
        wp_set_current_user( 1 );
        ob_start();
        StopPress\\print_troubles();
        $notice = ob_get_clean();
        $next = wp_next_scheduled( 'stop_press_again', array( {one} ) ) - time();
        return array( get_post_status( {one} ), state( {one} ), $notice, $next );
    """
    status, state, notice, seconds = press.run(shown)
    assert (status, state["status"]) == ("publish", "waiting")
    assert "Stop Press did not answer" in notice
    assert "Try again" in notice
    assert 50 < seconds <= 60
    again = f"{AGAIN} return state( {{0}} );"
    press.run(f"StopPress\\keep( state( {other} ), array( 'since' => time() - 600 ) );")
    assert press.run(again.format(other))["status"] == "failed"
    with Served(client.app, port):
        assert press.run(again.format(other))["status"] == "failed", "ten minutes, no longer"
        assert press.alerts() == []
        assert press.run(again.format(one))["status"] == "sent"
        assert press.run(again.format(planned))["status"] == "planned"
        assert press.run(f"return StopPress\\try_again( get_post( {other} ) );")["status"] == "sent"
    states = [one.state for one in press.alerts()]
    assert states == [State.SENDING, State.SCHEDULED, State.SENDING]


def test_news_that_no_visit_let_wordpress_hand_over_in_time_are_late(
    client: Client, wordpress: WordPress
) -> None:
    press, port = Press(client, wordpress), free_port()
    press.set_up(f"http://127.0.0.1:{port}")
    id = press.run("return post();")
    press.run(f"StopPress\\keep( state( {id} ), array( 'since' => time() - 3600 ) );")
    with Served(client.app, port):
        state = press.run(f"{AGAIN.format(id)} return state( {id} );")
        assert (state["status"], press.alerts()) == ("failed", [])
        assert "did not answer" in state["message"]
        press.run(f"change( {id}, array( 'post_content' => 'All are home.' ) );")
        assert press.alerts() == []


class Deaf(Relay):
    """Passes calls on to Stop Press, and loses the first answers."""

    lost = 1

    def _pass(self, source: Any, target: Any) -> None:  # type: ignore[override]
        if self.lost and source.getpeername()[1] == self._port:
            self.lost -= 1
            source.recv(1)  # by now the call has done what it does
            self.cut()
            return
        Relay._pass(source, target)


@pytest.mark.parametrize("planned", [False, True], ids=["now", "planned"])
def test_a_lost_answer_sends_nothing_twice(press: Press, planned: bool) -> None:
    with Deaf(press.address) as deaf:
        press.set_up(f"http://{deaf.address}")
        state = press.run(f"$id = post({'in_an_hour()' if planned else ''}); return state( $id );")
        assert state["status"] == "waiting"
        assert len(press.alerts()) == 1
        # Of a plan the id is not known, and it must be withdrawn.
        trash = "delete_transient( 'stop_press_down' ); wp_trash_post( {} );"
        press.run((trash if planned else AGAIN).format(state["post"]))
    assert [one.state for one in press.alerts()] == ([] if planned else [State.SENDING])


@pytest.mark.parametrize("lost", ["the answer to the plan", "a change of the plan"])
def test_a_post_that_is_deleted_for_good_takes_its_plan_with_it(press: Press, lost: str) -> None:
    with Deaf(press.address) as deaf:
        deaf.lost = int("answer" in lost)
        press.set_up(f"http://{deaf.address}")
        id = press.run("return post( in_an_hour() );")
        if "change" in lost:
            gone = f"update_post_meta( {id}, '_stop_press_topics', 'gone' );"
            press.run(f"{gone} change( {id}, array( 'post_title' => 'Afloat' ) );")
        status = press.run(f"return state( {id} )['status'];")
        assert (status, len(press.alerts())) == ("failed" if "change" in lost else "waiting", 1)
        press.run(f"delete_transient( 'stop_press_down' ); wp_delete_post( {id}, true );")
    assert press.alerts() == []


def test_a_copy_of_the_site_alerts_nobody(press: Press) -> None:
    found = press.run("""
        $id = post( in_an_hour() );
        update_option( 'home', 'http://staging.paper.example' );
        wp_trash_post( $id );
        $other = post();
        update_option( 'home', get_option( 'siteurl' ) );
        return state( $other );
    """)
    assert found["status"] == "failed"
    assert "staging.paper.example" in found["message"]
    assert press.alert().state is State.SCHEDULED


def test_another_token_plans_no_second_alert(press: Press) -> None:
    id = press.run("return post( in_an_hour() );")
    token = press.client.add_token("another", ["send"])
    press.run(f"""
        update_option( 'stop_press_token', '{token}' );
        change( {id}, array( 'post_title' => 'Ferry afloat' ) );
    """)
    assert press.alert().content.title == "Ferry afloat"


def test_browsers_get_the_two_pieces_and_the_check_says_what_is_missing(press: Press) -> None:
    press.wordpress.serve()
    press.set_up(press.address)
    origin, address = press.wordpress.origin, press.address
    with urlopen(f"{origin}/stop-press/sw.js") as worker:
        lines = (DESK_LINES / "sw.js").read_text()
        assert worker.read().decode() == lines.replace("https://push.example", address)
        assert worker.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert worker.headers["Service-Worker-Allowed"] == "/"
        assert worker.headers["Cache-Control"] == "no-cache"
    with urlopen(f"{origin}/?stop-press-worker=1") as worker:
        assert worker.read().decode().startswith("try {")
    with urlopen(origin) as page:
        html = page.read().decode()
    assert f'import("{address}/optin.js")' in html
    assert f'data-worker="{origin}/stop-press/sw.js" data-scope="/stop-press/"' in html
    found = press.run("return StopPress\\check();")
    assert [one["ok"] for one in found] == [True, False, True, True, True]
    assert f"{origin}. Your operator must add exactly this" in found[1]["words"]
    reading = press.client.add_token("a reader", ["read"])
    for token, said in ((reading, "may not publish"), ("nonsense", "does not know the token")):
        set_token = f"update_option( 'stop_press_token', '{token}' );"
        assert said in press.run(f"{set_token} return StopPress\\check_token();")["words"]


def test_a_site_in_a_folder_or_with_plain_permalinks_has_its_worker(press: Press) -> None:
    found = press.run("""
        $home  = get_option( 'home' );
        $found = array();
        foreach ( array( '/%postname%/', '/index.php/%postname%/', '' ) as $structure ) {
            update_option( 'home', "$home/blog" );
            update_option( 'permalink_structure', $structure );
            ob_start();
            StopPress\\print_script();
            preg_match( '/data-worker="(.*?)" data-scope="(.*?)"/', ob_get_clean(), $tag );
            $found[] = array( str_replace( $home, '', $tag[1] ), $tag[2] );
        }
        update_option( 'home', $home );
        update_option( 'permalink_structure', '/%postname%/' );
        return $found;
    """)
    plain = ["/blog/?stop-press-worker=1", "/blog/stop-press-alerts/"]
    assert found == [["/blog/stop-press/sw.js", "/blog/stop-press/"], plain, plain]


def test_uninstalling_leaves_nothing(press: Press) -> None:
    left = press.run("""
        wp_set_current_user( 1 );
        post( in_an_hour() );
        post( array( 'meta_input' => array( '_stop_press_alert' => '1' ) ) );
        StopPress\\reach( '*' );
        StopPress\\topics();
        define( 'WP_UNINSTALL_PLUGIN', 'stop-press/stop-press.php' );
        require WP_PLUGIN_DIR . '/stop-press/uninstall.php';
        global $wpdb;
        $left = array_filter( _get_cron_array(), function ( $events ) {
            return preg_grep( '/stop_press/', array_keys( $events ) );
        } );
        $columns = array( 'options' => 'option_name', 'postmeta' => 'meta_key' );
        foreach ( $columns + array( 'usermeta' => 'meta_key' ) as $table => $column ) {
            $query = "SELECT $column FROM {$wpdb->$table} WHERE $column LIKE '%stop_press%'";
            $left  = array_merge( $left, $wpdb->get_col( $query ) );
        }
        return $left;
    """)
    assert left == []


def test_the_token_is_stored_and_never_shown_again(press: Press) -> None:
    html, kept, replaced, refused = press.run("""
        wp_set_current_user( 1 );
        StopPress\\register_settings();
        $before = StopPress\\token();
        ob_start();
        StopPress\\print_page();
        $html = ob_get_clean();
        update_option( 'stop_press_token', '' );
        $kept = StopPress\\token() === $before;
        update_option( 'stop_press_token', 'another' );
        $given = array( 'address' => 'http://push.example' );
        $now = StopPress\\settings()['address'];
        $refused = StopPress\\clean_settings( $given )['address'] === $now;
        return array( $html, $kept, StopPress\\token(), $refused );
    """)
    assert press.token not in html
    assert (kept, replaced, refused) == (True, "another", True)


@pytest.mark.soak
@pytest.mark.parametrize("version", ["7.4", "8.0", "8.5"])
def test_other_versions_of_php_run_the_plug_in(tmp_path: Path, version: str) -> None:
    """Debian has one PHP; npm has others, as WebAssembly."""
    names = ["universal", f"node-{version.replace('.', '-')}"]
    packages = [f"@php-wasm/{name}@{PHP_WASM}" for name in names]
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", "."]
    subprocess.run([*install, *packages], cwd=tmp_path, check=True, capture_output=True)
    script = ROOT / "tests" / "support" / "php_version.mjs"
    argv = ["node", str(script), str(tmp_path), version, str(PLUGIN)]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    php_version, *found = json.loads(said)
    assert php_version.startswith(version)
    topics, everyone, short, audience, roles, post = found
    assert (topics, everyone, short, post) == ("world,sport", "*", "Ferry aground…", 7)
    assert audience == {"topics": ["world", "sport"]}
    assert "editor" in roles

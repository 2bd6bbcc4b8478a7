<?php
/**
 * Plugin Name:       Stop Press
 * Description:       Alerts the readers of this site through your newsroom's own Stop Press: once for each story.
 * Version:           1.0.0
 * Requires at least: 6.1
 * Requires PHP:      7.4
 * Text Domain:       stop-press
 *
 * Settings and post meta, by their names in the database:
 *
 *   stop_press            the settings (includes/settings.php)
 *   stop_press_token      the API token
 *   stop_press_id         what tells this site's posts from those of other sites at Stop Press
 *   stop_press_topics     the topics that Stop Press had last, for the editor's box
 *   stop_press_due        when the planned alerts go out, by post
 *   stop_press_automatic  when alerts were last sent because of a post's category
 *   _stop_press_alert     of a post: '1' alert readers, '0' do not, '' as its categories say
 *   _stop_press_title, _stop_press_text, _stop_press_topics   of a post: the alert, where an editor wrote it
 *   _stop_press_state     of a post: what became of its alert (includes/alerts.php)
 *
 * @package StopPress
 */

namespace StopPress;

defined( 'ABSPATH' ) || exit;

const PLUGIN_FILE = __FILE__;

require __DIR__ . '/includes/settings.php';
require __DIR__ . '/includes/api.php';
require __DIR__ . '/includes/pages.php';
require __DIR__ . '/includes/content.php';
require __DIR__ . '/includes/alerts.php';

if ( is_admin() ) {
	require __DIR__ . '/includes/box.php';
	require __DIR__ . '/includes/settings-page.php';
}

register_activation_hook( __FILE__, __NAMESPACE__ . '\activate' );
register_deactivation_hook( __FILE__, __NAMESPACE__ . '\deactivate' );

/** Keep the token out of the options that every request loads. */
function activate() {
	add_option( 'stop_press_token', '', '', false );
}

/** What is planned stays planned at Stop Press. */
function deactivate() {
	wp_unschedule_hook( 'stop_press_again' );
	wp_unschedule_hook( 'stop_press_withdraw' );
}

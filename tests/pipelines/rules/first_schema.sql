-- A store of the first schema with rows of every kind, as SQLite has it. Never changed: it is what older versions left.
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE rule (
	id VARCHAR(32) NOT NULL,
	name VARCHAR(64) NOT NULL,
	revision INTEGER NOT NULL,
	next_turn VARCHAR(32),
	failures INTEGER DEFAULT '0' NOT NULL,
	retry_at VARCHAR(32),
	trouble TEXT,
	trouble_code INTEGER DEFAULT '0' NOT NULL,
	trouble_since VARCHAR(32),
	deleted VARCHAR(32),
	PRIMARY KEY (id)
);
CREATE UNIQUE INDEX rule_name ON rule (name) WHERE deleted IS NULL;
CREATE TABLE revision (
	rule_id VARCHAR(32) NOT NULL,
	revision INTEGER NOT NULL,
	document JSON NOT NULL,
	changed VARCHAR(32) NOT NULL,
	changed_by VARCHAR(255) NOT NULL,
	PRIMARY KEY (rule_id, revision),
	FOREIGN KEY(rule_id) REFERENCES rule (id)
);
CREATE TABLE position (
	rule_id VARCHAR(32) NOT NULL,
	partition VARCHAR(1024) NOT NULL,
	origin VARCHAR(80) NOT NULL,
	upto VARCHAR(80) NOT NULL,
	found VARCHAR(32) NOT NULL,
	run_id VARCHAR(64) NOT NULL,
	PRIMARY KEY (rule_id, partition),
	FOREIGN KEY(rule_id) REFERENCES rule (id)
);
CREATE TABLE run (
	id VARCHAR(64) NOT NULL,
	rule_id VARCHAR(32) NOT NULL,
	revision INTEGER NOT NULL,
	"trigger" VARCHAR(16) NOT NULL,
	state VARCHAR(16) NOT NULL,
	started VARCHAR(32) NOT NULL,
	holder VARCHAR(255) NOT NULL,
	command TEXT NOT NULL,
	due VARCHAR(32),
	turns INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	ended VARCHAR(32),
	seen VARCHAR(32),
	exit_code INTEGER,
	error TEXT,
	log_file TEXT,
	messages BIGINT NOT NULL,
	bytes BIGINT NOT NULL,
	files BIGINT NOT NULL,
	already_stored BIGINT NOT NULL,
	gaps INTEGER NOT NULL,
	retries INTEGER NOT NULL,
	partitions JSON NOT NULL,
	warnings JSON NOT NULL,
	flink_job VARCHAR(64),
	savepoint TEXT,
	PRIMARY KEY (id),
	FOREIGN KEY(rule_id) REFERENCES rule (id)
);
CREATE INDEX run_of_rule ON run (rule_id, started);
CREATE TABLE lease (
	rule_id VARCHAR(32) NOT NULL,
	run_id VARCHAR(64) NOT NULL,
	expires VARCHAR(32) NOT NULL,
	PRIMARY KEY (rule_id),
	FOREIGN KEY(rule_id) REFERENCES rule (id)
);
INSERT INTO alembic_version (version_num) VALUES
  ('0001');
INSERT INTO rule (id, name, revision, next_turn, failures, retry_at, trouble, trouble_code, trouble_since, deleted) VALUES
  ('00000000000000000000000000000001', 'orders', 2, '2026-03-01T13:15:00.000000Z', 0, NULL, NULL, 0, NULL, NULL);
INSERT INTO rule (id, name, revision, next_turn, failures, retry_at, trouble, trouble_code, trouble_since, deleted) VALUES
  ('00000000000000000000000000000002', 'by-hand', 1, NULL, 0, NULL, 'The process of this run (host-1:17) has not been heard of since 2026-03-01 12:41:20Z: it was killed, or its machine went down. What it stored stays, and the next run completes it.', 1, '2026-03-01T12:41:20.000000Z', NULL);
INSERT INTO rule (id, name, revision, next_turn, failures, retry_at, trouble, trouble_code, trouble_since, deleted) VALUES
  ('00000000000000000000000000000003', 'streaming', 1, '2026-03-01T12:02:00.000000Z', 0, NULL, NULL, 0, NULL, NULL);
INSERT INTO rule (id, name, revision, next_turn, failures, retry_at, trouble, trouble_code, trouble_since, deleted) VALUES
  ('00000000000000000000000000000004', 'disabled', 1, NULL, 0, NULL, NULL, 0, NULL, NULL);
INSERT INTO rule (id, name, revision, next_turn, failures, retry_at, trouble, trouble_code, trouble_since, deleted) VALUES
  ('00000000000000000000000000000005', 'failing', 1, '2026-03-01T14:00:00.000000Z', 2, '2026-03-01T13:01:36.000000Z', '127.0.0.1:6650 did not answer within 5 s. Check host and port of address.', 4, '2026-03-01T13:00:05.000000Z', NULL);
INSERT INTO rule (id, name, revision, next_turn, failures, retry_at, trouble, trouble_code, trouble_since, deleted) VALUES
  ('00000000000000000000000000000006', 'gone', 1, NULL, 0, NULL, NULL, 0, NULL, '2026-03-01T12:41:20.000000Z');
INSERT INTO revision (rule_id, revision, document, changed, changed_by) VALUES
  ('00000000000000000000000000000001', 1, '{"name": "orders", "description": "all fields, ''quoted'' \u00fc", "schedule": "*/15 * * * *", "retries": 5, "keep_log": "90d", "address": "pulsar+ssl://10.0.0.7:6651", "admin_url": "https://10.0.0.7:8443", "cluster": "pulsar-x", "namespace": "shop", "topic": ["orders", "returns"], "subscription": "backup", "start_point": "latest", "role": "backup", "role_key": "env:ORDERS_ROLE_KEY", "listener_name": "vpc", "tls_trust_certs": "/etc/ca.pem", "tls_cert": "/etc/me.pem", "tls_key": "/etc/me.key", "on_trimmed": "continue", "bucket": "backup-1250000000", "region": "ap-guangzhou", "destination_path": "orders/", "cos_endpoint": "http://127.0.0.1:9000", "cos_credentials": "cvm-role:backup", "storage_class": "STANDARD_IA", "server_side_encryption": "AES256", "acl": "private", "tags": {"team": "shop"}, "metadata": {"purpose": "archive"}, "retry_deadline": "5m", "granularity": "10m", "window_by": "event_time", "allowed_disorder": "1m", "max_file_messages": "1000", "max_file_bytes": "100MB", "format": "jsonl", "codec": "gzip", "payload": "json", "path_template": "{topic}/%Y/", "timezone": "Asia/Shanghai", "runner": "FlinkRunner", "memory_budget": "128MB", "runner_options": ["--flink_master=127.0.0.1:8081"]}', '2026-03-01T12:01:00.000000Z', 'backup@host-1');
INSERT INTO revision (rule_id, revision, document, changed, changed_by) VALUES
  ('00000000000000000000000000000001', 2, '{"name": "orders", "description": "all fields, ''quoted'' \u00fc", "schedule": "*/15 * * * *", "retries": 5, "keep_log": "90d", "address": "pulsar+ssl://10.0.0.7:6651", "admin_url": "https://10.0.0.7:8443", "cluster": "pulsar-x", "namespace": "shop", "topic": ["orders", "returns"], "subscription": "backup", "start_point": "latest", "role": "backup", "role_key": "env:ORDERS_ROLE_KEY", "listener_name": "vpc", "tls_trust_certs": "/etc/ca.pem", "tls_cert": "/etc/me.pem", "tls_key": "/etc/me.key", "on_trimmed": "continue", "bucket": "backup-1250000000", "region": "ap-guangzhou", "destination_path": "orders/", "cos_endpoint": "http://127.0.0.1:9000", "cos_credentials": "cvm-role:backup", "storage_class": "STANDARD_IA", "server_side_encryption": "AES256", "acl": "private", "tags": {"team": "shop"}, "metadata": {"purpose": "archive"}, "retry_deadline": "5m", "granularity": "10m", "window_by": "event_time", "allowed_disorder": "1m", "max_file_messages": "1000", "max_file_bytes": "100MB", "format": "jsonl", "codec": "zstd", "payload": "json", "path_template": "{topic}/%Y/", "timezone": "Asia/Shanghai", "runner": "FlinkRunner", "memory_budget": "128MB", "runner_options": ["--flink_master=127.0.0.1:8081"]}', '2026-03-01T12:02:00.000000Z', 'backup@host-1');
INSERT INTO revision (rule_id, revision, document, changed, changed_by) VALUES
  ('00000000000000000000000000000002', 1, '{"name": "by-hand", "address": "pulsar://127.0.0.1:6650", "cluster": "pulsar-x", "namespace": "shop", "topic": ["a"], "subscription": "backup", "bucket": "file:///var/backup/"}', '2026-03-01T12:02:00.000000Z', 'backup@host-1');
INSERT INTO revision (rule_id, revision, document, changed, changed_by) VALUES
  ('00000000000000000000000000000003', 1, '{"name": "streaming", "schedule": "continuous", "address": "pulsar://127.0.0.1:6650", "cluster": "pulsar-x", "namespace": "shop", "topic": ["b"], "subscription": "backup", "bucket": "file:///var/backup/", "runner": "FlinkRunner"}', '2026-03-01T12:02:00.000000Z', 'backup@host-1');
INSERT INTO revision (rule_id, revision, document, changed, changed_by) VALUES
  ('00000000000000000000000000000004', 1, '{"name": "disabled", "enabled": false, "schedule": "every 1h", "address": "pulsar://127.0.0.1:6650", "cluster": "pulsar-x", "namespace": "shop", "topic": ["c"], "subscription": "backup", "bucket": "file:///var/backup/"}', '2026-03-01T12:02:00.000000Z', 'backup@host-1');
INSERT INTO revision (rule_id, revision, document, changed, changed_by) VALUES
  ('00000000000000000000000000000005', 1, '{"name": "failing", "schedule": "every 1h", "address": "pulsar://127.0.0.1:6650", "cluster": "pulsar-x", "namespace": "shop", "topic_pattern": "d-.*", "subscription": "backup", "bucket": "file:///var/backup/"}', '2026-03-01T12:02:00.000000Z', 'backup@host-1');
INSERT INTO revision (rule_id, revision, document, changed, changed_by) VALUES
  ('00000000000000000000000000000006', 1, '{"name": "gone", "schedule": "every 1h", "address": "pulsar://127.0.0.1:6650", "cluster": "pulsar-x", "namespace": "shop", "topic": ["e"], "subscription": "backup", "bucket": "file:///var/backup/"}', '2026-03-01T12:02:00.000000Z', 'backup@host-1');
INSERT INTO position (rule_id, partition, origin, upto, found, run_id) VALUES
  ('00000000000000000000000000000001', 'persistent://pulsar-x/shop/orders-partition-0', '-1:-1:-1', '17:120:-1', '2026-03-01T13:00:05.000000Z', '20260301T120000Z-000b');
INSERT INTO position (rule_id, partition, origin, upto, found, run_id) VALUES
  ('00000000000000000000000000000001', 'persistent://pulsar-x/shop/orders-partition-1', '17:0:-1', '18:120:3', '2026-03-01T13:00:05.000000Z', '20260301T120000Z-000b');
INSERT INTO run (id, rule_id, revision, "trigger", state, started, holder, command, due, turns, attempt, ended, seen, exit_code, error, log_file, messages, bytes, files, already_stored, gaps, retries, partitions, warnings, flink_job, savepoint) VALUES
  ('20260301T120000Z-0007', '00000000000000000000000000000001', 2, 'schedule', 'succeeded', '2026-03-01T12:40:00.000000Z', 'host-1:18', 'tdmq-backup run orders', '2026-03-01T12:30:00.000000Z', 2, 1, '2026-03-01T12:40:40.000000Z', '2026-03-01T12:40:40.000000Z', 0, NULL, '/var/lib/tdmq-backup/logs/orders/x.log', 86, 4000000000, 2, 1, 1, 2, '{"persistent://pulsar-x/shop/orders-partition-0": {"start": "17:0:-1", "stop": "17:90:-1", "messages": 86, "files": 2, "bytes": 4000000000, "gaps": [{"start": "17:0:-1", "stop": "17:4:-1", "certain": true}]}}', '["The clock of the broker is 3 s ahead."]', NULL, NULL);
INSERT INTO run (id, rule_id, revision, "trigger", state, started, holder, command, due, turns, attempt, ended, seen, exit_code, error, log_file, messages, bytes, files, already_stored, gaps, retries, partitions, warnings, flink_job, savepoint) VALUES
  ('20260301T120000Z-0008', '00000000000000000000000000000001', 2, 'reprocess', 'interrupted', '2026-03-01T12:40:40.000000Z', 'host-1:17', 'tdmq-backup run orders', NULL, 0, 1, '2026-03-01T12:41:20.000000Z', '2026-03-01T12:41:20.000000Z', 130, NULL, NULL, 0, 0, 0, 0, 0, 0, '{}', '[]', NULL, NULL);
INSERT INTO run (id, rule_id, revision, "trigger", state, started, holder, command, due, turns, attempt, ended, seen, exit_code, error, log_file, messages, bytes, files, already_stored, gaps, retries, partitions, warnings, flink_job, savepoint) VALUES
  ('20260301T120000Z-0009', '00000000000000000000000000000006', 1, 'manual', 'succeeded', '2026-03-01T12:41:20.000000Z', 'host-1:17', 'tdmq-backup run gone', NULL, 0, 1, '2026-03-01T12:41:20.000000Z', '2026-03-01T12:41:20.000000Z', 0, NULL, NULL, 0, 0, 0, 0, 0, 0, '{}', '[]', NULL, NULL);
INSERT INTO run (id, rule_id, revision, "trigger", state, started, holder, command, due, turns, attempt, ended, seen, exit_code, error, log_file, messages, bytes, files, already_stored, gaps, retries, partitions, warnings, flink_job, savepoint) VALUES
  ('20260301T120000Z-000a', '00000000000000000000000000000002', 1, 'manual', 'lost', '2026-03-01T12:41:20.000000Z', 'host-1:17', 'tdmq-backup run by-hand', NULL, 0, 1, '2026-03-01T12:41:20.000000Z', '2026-03-01T12:41:20.000000Z', NULL, 'The process of this run (host-1:17) has not been heard of since 2026-03-01 12:41:20Z: it was killed, or its machine went down. What it stored stays, and the next run completes it.', NULL, 0, 0, 0, 0, 0, 0, '{}', '[]', NULL, NULL);
INSERT INTO run (id, rule_id, revision, "trigger", state, started, holder, command, due, turns, attempt, ended, seen, exit_code, error, log_file, messages, bytes, files, already_stored, gaps, retries, partitions, warnings, flink_job, savepoint) VALUES
  ('20260301T120000Z-000b', '00000000000000000000000000000001', 2, 'schedule', 'succeeded', '2026-03-01T13:00:05.000000Z', 'host-2:4', 'tdmq-backup run orders', '2026-03-01T13:00:00.000000Z', 2, 1, '2026-03-01T13:00:05.000000Z', '2026-03-01T13:00:05.000000Z', 0, NULL, NULL, 0, 0, 0, 0, 0, 0, '{}', '[]', NULL, NULL);
INSERT INTO run (id, rule_id, revision, "trigger", state, started, holder, command, due, turns, attempt, ended, seen, exit_code, error, log_file, messages, bytes, files, already_stored, gaps, retries, partitions, warnings, flink_job, savepoint) VALUES
  ('20260301T120000Z-000c', '00000000000000000000000000000005', 1, 'schedule', 'failed', '2026-03-01T13:00:05.000000Z', 'host-2:4', 'tdmq-backup run failing', '2026-03-01T13:00:00.000000Z', 1, 1, '2026-03-01T13:00:05.000000Z', '2026-03-01T13:00:05.000000Z', 4, '127.0.0.1:6650 did not answer within 5 s. Check host and port of address.', NULL, 0, 0, 0, 0, 0, 0, '{}', '[]', NULL, NULL);
INSERT INTO run (id, rule_id, revision, "trigger", state, started, holder, command, due, turns, attempt, ended, seen, exit_code, error, log_file, messages, bytes, files, already_stored, gaps, retries, partitions, warnings, flink_job, savepoint) VALUES
  ('20260301T120000Z-000d', '00000000000000000000000000000005', 1, 'retry', 'failed', '2026-03-01T13:00:36.000000Z', 'host-2:4', 'tdmq-backup run failing', '2026-03-01T13:00:00.000000Z', 1, 2, '2026-03-01T13:00:36.000000Z', '2026-03-01T13:00:36.000000Z', 4, '127.0.0.1:6650 did not answer within 5 s. Check host and port of address.', NULL, 0, 0, 0, 0, 0, 0, '{}', '[]', NULL, NULL);
INSERT INTO run (id, rule_id, revision, "trigger", state, started, holder, command, due, turns, attempt, ended, seen, exit_code, error, log_file, messages, bytes, files, already_stored, gaps, retries, partitions, warnings, flink_job, savepoint) VALUES
  ('20260301T120000Z-000e', '00000000000000000000000000000003', 1, 'schedule', 'running', '2026-03-01T13:00:36.000000Z', 'host-2:4', 'tdmq-backup run streaming', NULL, 0, 1, NULL, '2026-03-01T13:00:36.000000Z', NULL, NULL, NULL, 12, 0, 0, 0, 0, 0, '{}', '[]', '0f3b5c7d9e1f2a4b6c8d0e2f4a6b8c0d', 'file:/savepoints/savepoint-0f3b5c');
INSERT INTO lease (rule_id, run_id, expires) VALUES
  ('00000000000000000000000000000003', '20260301T120000Z-000e', '2026-03-01T13:01:36.000000Z');

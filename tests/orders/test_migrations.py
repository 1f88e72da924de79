"""Migrations run while the version before goes on serving."""

import pytest
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from tests.migrations import faults
from tests.orders.serving import Service

# Django's schema editor wants a connection, though nothing is executed.
pytestmark = pytest.mark.django_db
LOADER = MigrationLoader(None)
OWN = sorted(key for key in LOADER.graph.nodes if key[0] == "orders")
STATE = LOADER.project_state()


@pytest.mark.parametrize("key", OWN, ids=lambda key: key[1])
def test_each_migration_is_safe_while_the_previous_version_serves(key):
    assert list(faults(LOADER.graph.nodes[key], LOADER.project_state(key, at_end=False))) == []


def test_a_service_that_lacks_tables_does_not_start(issuer, tmp_path):
    service = Service(issuer, tmp_path, workers=1)
    service.manage("migrate", "orders", "0001", "--verbosity", "0")
    try:
        with pytest.raises(AssertionError, match=r"Run `manage\.py migrate`"), service:
            pass
    finally:
        service.manage("migrate", "--verbosity", "0")
    with service:
        assert service.ask("GET", "/api/orders").status == 200


def test_a_service_with_tables_of_a_later_version_starts(issuer, tmp_path):
    service = Service(issuer, tmp_path, workers=1)
    add = "INSERT INTO django_migrations (app, name, applied) VALUES ('orders', '9999_later', '2030-01-01')"
    service.execute(add)
    try:
        with service:
            assert service.ask("GET", "/api/orders").status == 200
    finally:
        service.execute("DELETE FROM django_migrations WHERE name = '9999_later'")


def test_the_service_starts_while_the_database_is_down(issuer, tmp_path):
    away = {"ORDERS_DATABASE_URL": "postgres://someone@%2Fnowhere/nothing"}
    service = Service(issuer, tmp_path, environ=away, migrated=False)
    started = service.manage("shell", "-v0", "-c", "import orders_project.wsgi; print('started')")
    assert started.stdout == "started\n"
    assert "at the start" in started.stderr


STATUS = STATE.models["orders", "order"].fields["status"]
NEW = migrations.CreateModel("New", [("id", models.BigAutoField(primary_key=True))])
NOTE = models.TextField(default="")
SAFE = [
    [NEW],
    [NEW, migrations.AddField("New", "note", NOTE), migrations.AddIndex("New", models.Index("id", name="a"))],
    [migrations.AddField("Order", "note", models.TextField(null=True))],
    [migrations.AddField("Order", "note", models.IntegerField(null=True))],
    [migrations.AlterField("Order", "status", models.CharField(max_length=16, choices=["lost"], default="placed"))],
    [migrations.AlterModelOptions("Order", {"ordering": ["id"]})],
]
# Of tables that are large, what SQLite takes long for.
SLOW = [
    [migrations.AddField("Order", "note", models.IntegerField(null=True, default=3))],
    [migrations.AddField("Order", "note", models.TextField(db_default=""))],
    [migrations.AddField("Order", "note", models.TextField(null=True, unique=True))],
    [migrations.AddField("Order", "note", models.TextField(null=True, db_index=True))],
    [migrations.AddField("Order", "other", models.ForeignKey("orders.Order", models.CASCADE, null=True))],
    [NEW, migrations.AddField("Order", "new", models.OneToOneField("orders.New", models.CASCADE, null=True))],
]
UNSAFE = [
    *SLOW,
    [migrations.AddField("Order", "note", NOTE)],
    [migrations.RemoveField("Order", "item")],
    [migrations.RenameField("Order", "item", "thing")],
    [migrations.AlterField("Order", "item", models.CharField(max_length=20))],
    [migrations.AlterField("Order", "quantity", models.BigIntegerField(default=1))],
    [migrations.RenameModel("Order", "Purchase")],
    [migrations.DeleteModel("Order")],
    [migrations.AddIndex("Order", models.Index("item", name="a"))],
    [migrations.RemoveIndex("Order", "orders_of_user")],
    [migrations.AddConstraint("Order", models.UniqueConstraint(fields=["item"], name="a"))],
    [migrations.RunSQL("DELETE FROM orders_order")],
    [migrations.RunPython(migrations.RunPython.noop)],
    [NEW, migrations.RemoveField("Order", "item")],
]


def migration(operations: list) -> migrations.Migration:
    made = migrations.Migration("0009_next", "orders")
    made.operations = operations
    return made


@pytest.mark.parametrize("operations", SAFE, ids=lambda each: each[-1].describe())
def test_a_migration_that_only_adds_is_safe(operations):
    assert list(faults(migration(operations), STATE)) == []


@pytest.mark.parametrize("operations", UNSAFE, ids=lambda each: each[-1].describe())
def test_a_migration_that_removes_changes_or_blocks_is_not_safe(operations):
    assert len(list(faults(migration(operations), STATE))) == 1


@pytest.mark.parametrize("operations", SLOW, ids=lambda each: each[-1].describe())
def test_a_migration_may_declare_that_it_blocks_writes(operations):
    marked = migration(operations)
    marked.holds_up_writes = "a second for each 100,000 orders"
    assert list(faults(marked, STATE)) == []

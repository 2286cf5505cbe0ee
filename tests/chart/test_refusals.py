"""Values that contradict each other stop an installation, and say what would be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from devtools.helm import Helm, HelmError
from tests.chart.conftest import VALUES

_LOGIN = 'config.registries=[{"name":"main","url":"https://registry.example.com","username":"reaper"}]'
_JOB = (
    'config.registries=[{"name":"main","url":"https://x","collect":{"via":"kubernetes-job",'
    '"kubernetes":{"namespace":"registry","workload":"deployment/registry"}}}]'
)
_WEBHOOK = (
    'config.registries=[{"name":"main","url":"https://x","collect":{"via":"webhook",'
    '"webhook":{"url":"https://x","token":"abc"}}}]'
)
_SECRET = '{"name":"login"}'
_NOTIFY = 'config.notify=[{"name":"ops"}]'
_POSTGRESQL = ('store.type="postgresql"', 'store.postgresql.urlSecret={"name":"database"}')

#: On top of the least values: what is set, and what is said then.
_CONTRADICTIONS: Sequence[tuple[Sequence[str], str]] = [
    (['image.repository=""'], "image.repository is missing"),
    (["config.registries=[]"], "config.registries is empty: name one"),
    (["policies=null"], "there is no policy: give policies"),
    (['policiesConfigMap="mine"'], "policies stand beside policiesConfigMap"),
    (['config.policies=["/mine"]'], "config.policies is the chart's"),
    (['config.store={"url":"sqlite:////mine"}'], "config.store is the chart's"),
    (['config.web.listen="127.0.0.1:8080"'], "127.0.0.1:8080, where no probe reaches it"),
    (['config.web.listen="[::1]:8080"'], "[::1]:8080, where no probe reaches it"),
    (['config.web.token="abc"'], "config.web.token would stand in a ConfigMap: use secrets.web.tokenSecret"),
    (['config.web.events_secret="abc"'], "use secrets.web.eventsSecret"),
    (
        ['config.web.token_file="/mine"', f"secrets.web.tokenSecret={_SECRET}"],
        "secrets.web.tokenSecret stands beside config.web.token_file",
    ),
    ([_LOGIN], "registry main has a username and no password: add secrets.registries.main.passwordSecret"),
    ([f"secrets.registries.main.passwordSecret={_SECRET}"], "a passwordSecret and no username"),
    ([f"secrets.registries.other.tokenSecret={_SECRET}"], "secrets.registries.other is of no registry"),
    (
        [
            _LOGIN,
            f"secrets.registries.main.tokenSecret={_SECRET}",
            f"secrets.registries.main.passwordSecret={_SECRET}",
        ],
        "registry main has a tokenSecret beside a user's login",
    ),
    (
        [f"secrets.registries.main.caSecret={_SECRET}", f"secrets.registries.main.caConfigMap={_SECRET}"],
        "registry main has a caSecret beside a caConfigMap",
    ),
    (
        ['config.registries=[{"name":"main","url":"https://registry.example.com","token":"abc"}]'],
        "the token of registry main would stand in a ConfigMap: use secrets.registries.main.tokenSecret",
    ),
    (
        [
            'config.registries=[{"name":"main","url":"https://registry.example.com","ca_file":"/mine"}]',
            f"secrets.registries.main.caSecret={_SECRET}",
        ],
        "secrets.registries.main.caSecret stands beside that registry's ca_file",
    ),
    ([_NOTIFY], "receiver ops has no url: add its urlSecret under secrets.notify"),
    (['config.notify=[{"name":"ops","url":"https://x"}]'], "the url of receiver ops is a secret"),
    ([f"secrets.notify.ops.urlSecret={_SECRET}"], "secrets.notify.ops is of no receiver"),
    ([f"secrets.clusters.far.kubeconfigSecret={_SECRET}"], "secrets.clusters.far is of no cluster"),
    (
        ['config.in_use.clusters=[{"name":"here"},{"name":"there"}]'],
        "several of config.in_use.clusters have no kubeconfig",
    ),
    (["replicaCount=2"], "replicaCount is 2: replicas cannot share SQLite"),
    (["replicaCount=2", *_POSTGRESQL], "replicaCount is 2: set config.leader_election.enabled"),
    (["replicaCount=2", "config.leader_election.enabled=true"], "replicas cannot share SQLite"),
    (
        ["replicaCount=2", "config.leader_election.enabled=true",
         'store.sqlite.persistence.accessModes=["ReadWriteMany"]'],
        "replicas cannot share SQLite",
    ),
    (['updateStrategy={"type":"RollingUpdate"}'], "would run two pods on one SQLite database"),
    (['store.type="postgresql"'], "store.type postgresql needs store.postgresql.urlSecret"),
    ([_POSTGRESQL[1]], "store.postgresql.urlSecret without store.type postgresql"),
    (
        ["store.sqlite.persistence.enabled=false", "config.dry_run=false"],
        "deletes could not be undone once the pod is gone",
    ),
    (["terminationGracePeriodSeconds=45"], "shutdown_grace is 45s, but pods are killed after 45 s"),
    (['config.shutdown_grace="2m"'], "shutdown_grace is 2m, but pods are killed after 60 s"),
    (["serviceAccount.create=false"], "the roles would go to the namespace's default service account"),
    (["serviceAccount.automount=false"], "need the cluster, and serviceAccount.automount is false"),
    (
        [_JOB],
        "a registry collects via kubernetes-job: allow it with rbac.collection",
    ),
    (
        [_WEBHOOK],
        "the token of registry main's webhook would stand in a ConfigMap",
    ),
    ([f"secrets.registries.main.collectTokenSecret={_SECRET}"], "that registry has no collect.webhook"),
    ([f"secrets.registries.main.collectKubeconfigSecret={_SECRET}"], "has no collect.kubernetes"),
    (
        ["metrics.serviceMonitor.enabled=true", "metrics.podMonitor.enabled=true"],
        "serviceMonitor and podMonitor would scrape each pod twice",
    ),
    (
        ["metrics.podMonitor.enabled=true", 'metrics.podMonitor.namespace="monitoring"',
         f"secrets.web.tokenSecret={_SECRET}"],
        "the podMonitor in namespace monitoring could not read the secret of secrets.web.tokenSecret",
    ),
]  # fmt: skip

_UNKNOWN: Mapping[str, str] = {
    "replicas=2": "replicas",
    'image.name="reaper"': "name",
    "config.dryRun=false": "dryRun",
    'config.registries=[{"name":"main","uri":"https://registry.example.com"}]': "uri",
    'config.registries=[{"name":"main","url":"https://x","collect":{"cron":"0 4 * * 0"}}]': "cron",
    'secrets.registries.main.password="abc"': "password",
    'policies={"p.yaml":{"version":1,"policies":[{"name":"p","repositorys":["**"]}]}}': "repositorys",
    "store.sqlite.enabled=true": "enabled",
    "metrics.serviceMonitor.enable=true": "enable",
    "rbac.collections=true": "collections",
}

_WRONG: Mapping[str, str] = {
    'config.dry_run="no"': "boolean",
    'config.schedule="daily"': "pattern",
    'policies={"p.txt":"version: 1"}': "p.txt",
    'policies={"p.yaml":{"version":1}}': "policies",
    'store.type="mysql"': "sqlite",
    'store.postgresql.urlSecret={"key":"url"}': "name",
    'image.digest="sha256:abc"': "pattern",
    'secrets.web.tokenSecret={"key":"token"}': "name",
    'rbac.collection="registry"': "boolean",
    'service.type="ExternalName"': "ClusterIP",
}


@pytest.mark.parametrize(("settings", "message"), _CONTRADICTIONS)
def test_a_contradiction_is_refused(helm: Helm, settings: Sequence[str], message: str) -> None:
    with pytest.raises(HelmError) as refused:
        helm.template([VALUES["sqlite"]], settings=settings)
    assert message in str(refused.value)


def test_all_that_is_wrong_is_said_at_once(helms: Mapping[int, Helm]) -> None:
    for helm in helms.values():
        with pytest.raises(HelmError) as refused:
            helm.template(settings=["replicaCount=2"])
        for part in (
            "image.repository is missing",
            "config.registries is empty",
            "no policy",
            "share SQLite",
        ):
            assert part in str(refused.value)


@pytest.mark.parametrize("setting", _UNKNOWN)
def test_a_key_that_does_not_exist_is_refused(helms: Mapping[int, Helm], setting: str) -> None:
    for helm in helms.values():
        with pytest.raises(HelmError, match="schema") as refused:
            helm.template([VALUES["sqlite"]], settings=[setting])
        assert _UNKNOWN[setting] in str(refused.value)


@pytest.mark.parametrize("setting", _WRONG)
def test_a_value_that_cannot_be_is_refused(helms: Mapping[int, Helm], setting: str) -> None:
    for helm in helms.values():
        with pytest.raises(HelmError, match="schema") as refused:
            helm.template([VALUES["sqlite"]], settings=[setting])
        assert _WRONG[setting] in str(refused.value)

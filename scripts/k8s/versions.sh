# shellcheck shell=bash
# The versions of all that the test cluster is made of. A new version here is built anew; the old one stays in the cache.
# A registry may refuse the very newest version of a module: take one that is a few weeks old.
# shellcheck disable=SC2034  # read by the files that source this one
kubernetes_version=1.37.1
etcd_version=3.6.16
containerd_version=2.4.2
coredns_version=1.15.0
helm_version=4.3.1
grpcurl_version=1.9.4
kubeconform_version=0.7.0
kubernetes_validate_version=1.37.0

# The Kubernetes versions that the chart supports: its templates are checked against the schemas of both.
oldest_kubernetes=1.29
newest_kubernetes=${kubernetes_version%.*}

# Where the definitions of Certificate, ServiceMonitor and PrometheusRule come from.
cert_manager_version=1.19.1
prometheus_operator_version=0.85.0

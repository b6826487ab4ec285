"""Envoy's configuration as data: mutual TLS 1.3, bare or with a mesh's duties. Envoy reads JSON where it reads YAML."""

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
_FILTERS = "type.googleapis.com/envoy.extensions.filters."


def _common(certificates, leaf, group):
    return {
        # Envoy's own maximum is TLS 1.2 upstream unless told.
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3", "ecdh_curves": [group]},
        "tls_certificates": [{
            "certificate_chain": {"filename": f"{certificates}/{leaf}.pem"},
            "private_key": {"filename": f"{certificates}/{leaf}.key"}}],
        "validation_context": {"trusted_ca": {"filename": f"{certificates}/root.pem"}},
    }


def server_tls(certificates, leaf, group, alpn):
    common = _common(certificates, leaf, group)
    if alpn:
        common["alpn_protocols"] = alpn
    return {"name": "tls", "typed_config": {
        "@type": f"{_TLS}DownstreamTlsContext", "require_client_certificate": True,
        "disable_stateless_session_resumption": True, "disable_stateful_session_resumption": True,
        "common_tls_context": common}}


def client_tls(certificates, leaf, group, alpn, sni, peer):
    """`peer` is the SPIFFE ID that the upstream must show."""
    common = _common(certificates, leaf, group)
    common["validation_context"]["match_typed_subject_alt_names"] = [{"san_type": "URI", "matcher": {"exact": peer}}]
    if alpn:
        common["alpn_protocols"] = alpn
    return {"name": "tls", "typed_config": {
        "@type": f"{_TLS}UpstreamTlsContext", "sni": sni, "max_session_keys": 0, "common_tls_context": common}}


def _listener(name, port, network_filter, tls):
    chain = {"filters": [network_filter]} | ({"transport_socket": tls} if tls else {})
    return {"name": name, "filter_chains": [chain],
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


def http_listener(name, port, cluster, tls=None, duties=None):
    """HTTP/1.1 and HTTP/2, by ALPN or by the preface, to `cluster`; `duties` is what `mesh_duties` made."""
    routes = {"virtual_hosts": [{
        "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}]}
    duties = duties or {"manager": {}, "filters": []}
    return _listener(name, port, {"name": "http", "typed_config": {
        "@type": f"{_FILTERS}network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": name,
        "codec_type": "AUTO", "route_config": routes, **duties["manager"],
        "http_filters": [*duties["filters"], {"name": "router", "typed_config": {"@type": f"{_FILTERS}http.router.v3.Router"}}]}}, tls)


def mesh_duties(log, caller):
    """What Istio's proxies do for each request and ours always do: a JSON log line, one rule of authorisation, a rate limit, and the
    caller's identity in a header. No trace header: Envoy writes one only with a collector."""
    fields = {
        "time": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%", "authority": "%REQ(:AUTHORITY)%",
        "request_protocol": "%PROTOCOL%", "response_code": "%RESPONSE_CODE%", "response_flags": "%RESPONSE_FLAGS%",
        "source_principal": "%DOWNSTREAM_PEER_URI_SAN%", "server_name": "%REQUESTED_SERVER_NAME%",
        "upstream_host": "%UPSTREAM_HOST%", "upstream_cluster": "%UPSTREAM_CLUSTER%",
        "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%", "bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%",
        "duration": "%DURATION%", "request_id": "%REQ(X-REQUEST-ID)%", "user_agent": "%REQ(USER-AGENT)%"}
    manager = {
        "forward_client_cert_details": "SANITIZE_SET", "set_current_client_cert_details": {"uri": True},
        "access_log": [{"name": "file", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": str(log),
            "log_format": {"json_format": fields}}}]}
    rules = {"action": "ALLOW", "policies": {"callers": {
        "permissions": [{"any": True}], "principals": [{"authenticated": {"principal_name": {"exact": caller}}}]}}}
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    bucket = {"max_tokens": 100_000_000, "tokens_per_fill": 100_000_000, "fill_interval": "1s"}
    return {"manager": manager, "filters": [
        {"name": "rbac", "typed_config": {"@type": f"{_FILTERS}http.rbac.v3.RBAC", "rules": rules}},
        {"name": "limit", "typed_config": {
            "@type": f"{_FILTERS}http.local_ratelimit.v3.LocalRateLimit", "stat_prefix": "limit", "token_bucket": bucket,
            "filter_enabled": always, "filter_enforced": always}}]}


def tcp_listener(name, port, cluster, tls=None):
    return _listener(name, port, {"name": "tcp", "typed_config": {
        "@type": f"{_FILTERS}network.tcp_proxy.v3.TcpProxy", "stat_prefix": name, "cluster": cluster}}, tls)


def cluster(name, port, protocol, tls=None):
    """`protocol`: http1, http2 or tcp."""
    made = {
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]}}
    if protocol != "tcp":
        options = {"http2_protocol_options" if protocol == "http2" else "http_protocol_options": {}}
        made["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": options}}
    return made | ({"transport_socket": tls} if tls else {})


def configuration(listeners, clusters):
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}

package boot

import (
	"maps"
	"net/http"
	"runtime/metrics"

	"github.com/enclaveos/eos/pkg/runtime/metric"
	"github.com/enclaveos/eos/pkg/runtime/module"
)

// metrics are figures: JSON with the names of Enclave OS Mini, in which what no module counts is 0,
// or the text of Prometheus for who asks for that.
func (r *Runtime) metrics(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Vary", "Accept")
	if metric.WantsText(req.Header.Values("Accept")) {
		families := r.families()
		for _, m := range r.modules {
			if m, ok := m.(module.Measured); ok {
				families = append(families, m.Families(req.Context())...)
			}
		}
		answerBytes(w, http.StatusOK, metric.ContentType, metric.Append(nil, families...))
		return
	}
	all := map[string]any{
		"connections_total": r.accepted.Load(), "frames_total": r.requests.Load(), "uptime_seconds": r.uptime(),
		"wasm_calls_total": 0, "secrets_stored_total": 0, "secrets_retrieved_total": 0, "attestation_verifications_total": 0,
		"wasm_app_metrics": []any{}, "api_fees": []any{},
	}
	for _, m := range r.modules {
		if m, ok := m.(module.Counter); ok {
			maps.Copy(all, m.Metrics(req.Context()))
		}
	}
	answer(w, http.StatusOK, all)
}

// families are the core's own figures.
func (r *Runtime) families() []metric.Family {
	ready := 0.0
	if r.ready.Load() {
		ready = 1
	}
	// Of the Go runtime in the enclave, which shares nothing with the host's.
	inside := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/sched/goroutines:goroutines"}}
	metrics.Read(inside)
	return []metric.Family{
		{Name: "eos_info", Help: "The version of the runtime, and the root of its configuration.", Kind: metric.Gauge, Samples: []metric.Sample{{
			Labels: []metric.Label{{Name: "version", Value: version()}, {Name: "config_root", Value: r.tree.Load().Root().String()}}, Value: 1}}},
		metric.Value("eos_ready", "Whether requests are served.", metric.Gauge, ready),
		metric.Value("eos_uptime_seconds", "Time since the start.", metric.Gauge, float64(r.uptime())),
		metric.Value("eos_connections_total", "Connections that have been accepted.", metric.Counter, float64(r.accepted.Load())),
		metric.Value("eos_requests_total", "Requests that have been read.", metric.Counter, float64(r.requests.Load())),
		metric.Value("eos_heap_bytes", "Objects on the heap in the enclave.", metric.Gauge, float64(inside[0].Value.Uint64())),
		metric.Value("eos_memory_bytes", "All memory that the Go runtime in the enclave has taken.", metric.Gauge, float64(inside[1].Value.Uint64())),
		metric.Value("eos_goroutines", "Goroutines in the enclave.", metric.Gauge, float64(inside[2].Value.Uint64())),
	}
}

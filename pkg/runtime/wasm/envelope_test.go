package wasm

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/runtime/module"
)

// order makes a POST /data and returns the HTTP status and the answer.
func (w *world) order(token, body string) (int, string) {
	r, err := w.m.Handle(context.Background(), &module.Request{Body: []byte(body), Caller: callerOf(token)})
	var refused *module.Error
	switch {
	case errors.As(err, &refused) && refused.Status == 0:
		return 400, refused.Message
	case errors.As(err, &refused):
		return refused.Status, refused.Message
	case err != nil:
		return 500, err.Error()
	}
	return r.Status, string(r.Body)
}

// TestOrders: what a manager is refused has a status that says whose fault it is, and
// changes nothing.
func TestOrders(t *testing.T) {
	w := newWorld(t, map[string][]byte{"adder": adder})
	if status, said := w.order(managerToken, loadBody("answer", fortyTwo, `,"hostname":"answer.example"`)); status != 200 {
		t.Fatal(status, said)
	}
	before := w.leaves()
	const command = "\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x07\x0a\x01\x06_start\x00\x00\x0a\x04\x01\x02\x00\x0b"
	for _, c := range []struct {
		token, body string
		status      int
		want        string
	}{
		{"", loadBody("x", fortyTwo, ""), 401, "operator's token"},
		{readerToken, loadBody("x", fortyTwo, ""), 403, "needs the role manager"},
		{"nobody's", loadBody("x", fortyTwo, ""), 401, "operator's token"},
		{managerToken, loadBody("adder", fortyTwo, ""), 409, "there is an app adder already"},
		{managerToken, loadBody("answer", fortyTwo, ""), 409, "there is an app answer already"},
		{managerToken, loadBody("x", fortyTwo, `,"hostname":"answer.example"`), 409, "the host name answer.example is app answer's"},
		{managerToken, loadBody("x", fortyTwo, `,"hostname":"Answer.Example"`), 400, "host name"},
		{managerToken, loadBody("x", fortyTwo, `,"hostnames":["a","a"]`), 400, "hostnames"},
		{managerToken, loadBody("X", fortyTwo, ""), 400, "lower-case"},
		{managerToken, loadBody("x", []byte("no module"), ""), 400, "not a WASM module"},
		{managerToken, loadBody("x", nil, ""), 400, "module"},
		{managerToken, loadBody("x", []byte("\x00asm\x0d\x00\x01\x00"), ""), 400, "components: not yet"},
		{managerToken, loadBody("x", fortyTwo, `,"interfaces":["disk"]`), 400, "unknown interface"},
		{managerToken, loadBody("x", fortyTwo, `,"limits":{"fuel":0}`), 400, "fuel"},
		{managerToken, loadBody("x", fortyTwo, `,"permissions":{"default_policy":"role","default_roles":["none"]}`), 400, "none"},
		{managerToken, loadBody("x", fortyTwo, `,"permissions":{"functions":{"g":{"policy":"operator"}}}`), 400, `policy for the function \"g\"`},
		{managerToken, loadBody("x", []byte(command), `,"permissions":{"functions":{"start":{"policy":"operator"}}}`), 400, `policy for the function \"start\"`},
		{managerToken, loadBody("x", fortyTwo, `,"name":"y"`), 400, `"name" comes twice`},
		{managerToken, loadBody("x", fortyTwo, `,"Hostname":"h.example"`), 400, `unknown member \"Hostname\"`},
		{managerToken, loadBody("x", fortyTwo, `,"env":{"A":"1","A":"2"}`), 400, `"A" comes twice`},
		{managerToken, `{"wasm_unload":{"name":"adder"}}`, 403, "part of the image"},
		{managerToken, `{"wasm_unload":{"name":"none"}}`, 200, "not_found"},
		{managerToken, `{"wasm_unload":{"name":"answer","name":"answer"}}`, 400, `"name" comes twice`},
		{managerToken, `{"wasm_unload":{"name":"answer"},"wasm_unload":{"name":"answer"}}`, 400, `"wasm_unload" comes twice`},
		{managerToken, `{"wasm_unload":{"name":"answer"},"\u0077asm_unload":{}}`, 400, `"wasm_unload" comes twice`},
		{managerToken, `{"wasm_list":{"x":1}}`, 400, `unknown member \"x\"`},
		// Calls answer as those of Enclave OS Mini do.
		{"", `{"wasm_call":{"app":"none","function":"f"}}`, 200, `{"status":"error","message":"there is no app none"`},
		{"", `{"wasm_call":{"app":"adder","app":"answer","function":"f"}}`, 400, `"app" comes twice`},
		{"", `{"wasm_call":{"app":"adder","function":"f","params":[{"type":"s32","value":1},{"type":"s32","value":2,"value":3}]}}`, 400, `"value" comes twice`},
		{"", `{"connect_call":{"app":"adder","function":"f","body":{"p0":1,"p1":2,"p0":3}}}`, 400, `"p0" comes twice`},
		{"", `{"wasm_call":{"app":"adder","function":"f","params":[{"type":"string","value":"\ud800"}]}}`, 400, "half a character"},
	} {
		status, said := w.order(c.token, c.body)
		if status != c.status || !strings.Contains(said, c.want) {
			t.Errorf("%.90s: %d %s; want %d %s", c.body, status, said, c.status, c.want)
		}
	}
	if got := w.leaves(); got != before {
		t.Errorf("leaves are\n%s\nwant\n%s", got, before)
	}
	rec := w.do("POST", "/rpc/adder/f", "", `{"p0":1,"p1":2,"p0":3}`)
	w.want("a parameter twice", rec.Body.String(), `"p0\" comes twice`)
	if rec.Code != 400 {
		t.Errorf("a parameter twice: %d", rec.Code)
	}
}

// TestLoadTakenBack: an app whose host name is the enclave's own leaves nothing behind.
func TestLoadTakenBack(t *testing.T) {
	w := newWorld(t, map[string][]byte{"adder": adder})
	before := w.leaves()
	w.change = func() error {
		for _, s := range w.m.Subjects() {
			if s.Hosts[0] == "localhost" {
				return &ratls.HostError{Host: "localhost", First: "platform", Second: s.Name}
			}
		}
		return nil
	}
	status, said := w.order(managerToken, loadBody("answer", fortyTwo, `,"hostname":"localhost"`))
	if status != 409 || !strings.Contains(said, `{"status":"error","message":"the host name localhost is the enclave's own"`) {
		t.Errorf("%d %s", status, said)
	}
	if w.changes.Load() != 2 || w.leaves() != before {
		t.Errorf("%d changes, and leaves are\n%s", w.changes.Load(), w.leaves())
	}
	w.stop()
	w.start()
	if got := w.leaves(); got != before {
		t.Errorf("after a restart leaves are\n%s\nwant\n%s", got, before)
	}
	// What fails otherwise is nobody's business but the log's, and taken back as well.
	w.change = func() error { return errors.New("no quote") }
	if status, said := w.order(managerToken, loadBody("answer", fortyTwo, "")); status != 500 {
		t.Errorf("%d %s", status, said)
	}
	w.change = nil
	if status, said := w.order(managerToken, loadBody("answer", fortyTwo, `,"hostname":"a.example"`)); status != 200 {
		t.Errorf("the name is not free again: %d %s", status, said)
	}
}

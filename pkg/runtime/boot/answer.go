package boot

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"runtime"
	"strconv"
	"strings"

	"github.com/enclaveos/eos/pkg/runtime/module"
)

// answer writes a JSON document.
func answer(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		b.Reset()
		status = http.StatusInternalServerError
		b.WriteString(`{"error":"internal error"}` + "\n")
	}
	answerBytes(w, status, "application/json", b.Bytes())
}

// answerBytes always says how long the answer is: old clients need it.
func answerBytes(w http.ResponseWriter, status int, contentType string, b []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that has gone is nobody's fault
}

// fail answers {"error": text}.
func fail(w http.ResponseWriter, status int, text string) {
	answer(w, status, struct {
		Error string `json:"error"`
	}{text})
}

// failWith answers with what an error says to clients.
func (r *Runtime) failWith(w http.ResponseWriter, req *http.Request, err error) {
	var refused *module.Error
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &refused):
		status := refused.Status
		if status == 0 {
			status = http.StatusBadRequest
		}
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="eos"`)
		}
		fail(w, status, refused.Message)
	case errors.As(err, &big):
		fail(w, http.StatusRequestEntityTooLarge, "the body has more than "+strconv.FormatInt(big.Limit, 10)+" bytes")
	case req.Context().Err() != nil:
		fail(w, http.StatusServiceUnavailable, "the request was given up")
	default:
		r.log.Error("a request failed", "method", req.Method, "path", req.URL.Path, "error", err)
		fail(w, http.StatusInternalServerError, "internal error")
	}
}

// caught ends a request whose handler has panicked. The log, which the host reads, gets
// where that was but not what it said: that may be anybody's data.
func (r *Runtime) caught(w http.ResponseWriter, req *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	var pcs [16]uintptr
	var where []string
	for frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])]); ; {
		f, more := frames.Next()
		where = append(where, f.Function+" "+path.Base(f.File)+":"+strconv.Itoa(f.Line))
		if !more {
			break
		}
	}
	r.log.Error("a handler panicked", "method", req.Method, "where", strings.Join(where, ", "))
	fail(w, http.StatusInternalServerError, "internal error")
}

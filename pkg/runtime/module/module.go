// Package module is what the runtime asks of a module. A module has a name and
// answers POST /data; everything else that it may want is a small interface that
// it can have as well.
//
//	type Clock struct{}
//
//	func (Clock) Name() string { return "clock" }
//
//	func (Clock) Handle(_ context.Context, r *module.Request) (*module.Response, error) {
//		if string(r.Body) != "time" {
//			return nil, module.ErrNotMine
//		}
//		return module.Text(time.Now().String()), nil
//	}
//
//	func main() { boot.Main(Clock{}) }
package module

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/runtime/measure"
	"github.com/enclaveos/eos/pkg/runtime/metric"
)

// ErrNotMine is what Handle returns for a request that another module may know.
var ErrNotMine = errors.New("no module knows this request")

// Module answers requests. Its methods are called by many goroutines at a time.
type Module interface {
	// Name is its name in status, log and configuration: lower-case letters, digits
	// and hyphens.
	Name() string
	// Handle answers a POST /data. It returns ErrNotMine for what it does not know,
	// an *Error for what it refuses, or any other error, which is a 500 whose text
	// only the log gets.
	Handle(ctx context.Context, r *Request) (*Response, error)
}

// The optional interfaces of a Module.
type (
	// A Router has routes of its own. A handler finds out who asks by CallerOf.
	Router interface {
		Routes(mux *http.ServeMux)
	}
	// A Configured module has facts in the attested configuration. When they change
	// it calls Env.Changed.
	Configured interface {
		ConfigLeaves() []measure.Leaf
	}
	// A Claimant has claims of its own in the platform's certificate. When they change
	// it calls Env.Changed.
	Claimant interface {
		Extensions() []ratls.Extension
	}
	// A Landlord has apps with host names, and so certificates, of their own. When they
	// change it calls Env.Changed. The platform's claims are added to theirs.
	Landlord interface {
		Subjects() []ratls.Subject
	}
	// A Starter is started before the first request, in the order of registration,
	// after every module before it.
	Starter interface {
		Start(ctx context.Context, env *Env) error
	}
	// A Stopper is stopped after the last request, in the opposite order.
	Stopper interface {
		Stop(ctx context.Context) error
	}
	// A Reporter has something to say in GET /status; a value that marshals to a
	// JSON object.
	Reporter interface {
		Status() any
	}
	// A Counter counts things for GET /metrics in JSON: members of its object, by names
	// such as "wasm_calls_total".
	Counter interface {
		Metrics(ctx context.Context) map[string]any
	}
	// A Measured module has figures for GET /metrics as Prometheus takes them.
	Measured interface {
		Families(ctx context.Context) []metric.Family
	}
)

// Request is a POST /data.
type Request struct {
	Body   []byte
	Header http.Header
	Caller Caller
}

// Response is the answer.
type Response struct {
	Status      int    // HTTP; 0 is 200
	ContentType string // empty: application/json
	Body        []byte
}

// JSON is a response of v's JSON.
func JSON(v any) (*Response, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &Response{Body: b}, nil
}

// Text is a response of plain text.
func Text(s string) *Response {
	return &Response{ContentType: "text/plain; charset=utf-8", Body: []byte(s)}
}

// Error is an answer that is not 200. The client gets Message.
type Error struct {
	Status  int // HTTP; 0 is 400
	Message string
}

func (e *Error) Error() string { return e.Message }

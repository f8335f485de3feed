package wasm

import (
	"errors"
	"fmt"
	"net/http"
)

// A Fault is why a call did not give a result. Its text is for the caller.
type Fault struct {
	Kind FaultKind
	Text string
}

func (f *Fault) Error() string { return f.Text }

// FaultKind says who has to do something about a fault.
type FaultKind uint8

const (
	FaultArgument FaultKind = iota // the caller: parameters that do not fit
	FaultUnknown                   // the caller: no such app or function
	FaultToken                     // the caller: a token is needed
	FaultDenied                    // the caller: may not
	FaultGuest                     // the app: it trapped, failed or gave nonsense
	FaultFuel                      // the app: its budget of instructions is spent
	FaultStack                     // the app: its budget of stack is spent
	FaultTime                      // the app: its time is over
	FaultOutput                    // the app: its result is too long
	FaultBusy                      // nobody: too many calls at a time, or no memory left
	FaultExists                    // the manager: the name is taken
	FaultRefused                   // the caller: the app itself says no (fail)
)

// String is a word for figures.
func (k FaultKind) String() string {
	return [...]string{"argument", "unknown", "token", "denied", "trap", "fuel", "stack", "time", "output", "busy", "exists", "refused"}[k]
}

// status is the HTTP status of a fault.
func (k FaultKind) status() int {
	switch k {
	case FaultArgument:
		return http.StatusBadRequest
	case FaultUnknown:
		return http.StatusNotFound
	case FaultToken:
		return http.StatusUnauthorized
	case FaultDenied:
		return http.StatusForbidden
	case FaultTime:
		return http.StatusGatewayTimeout
	case FaultBusy:
		return http.StatusServiceUnavailable
	case FaultExists:
		return http.StatusConflict
	case FaultRefused:
		return http.StatusUnprocessableEntity
	}
	return http.StatusBadGateway // the app is behind us, and what it gave is nothing
}

func faultf(kind FaultKind, format string, args ...any) *Fault {
	return &Fault{kind, fmt.Sprintf(format, args...)}
}

// asFault finds the fault in what an engine returned.
func asFault(err error) (*Fault, bool) {
	var f *Fault
	return f, errors.As(err, &f)
}

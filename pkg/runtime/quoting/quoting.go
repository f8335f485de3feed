// Package quoting asks the quoting enclave of the machine for quotes of this
// enclave, by way of the host.
//
// Trust: the host carries all messages and may answer with anything. A quote
// that is not one of this enclave with the data asked for is refused; whether
// its signatures hold is for those to check whom it is shown to. Collateral is
// passed on as it came.
package quoting

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/enclave"
	"github.com/enclaveos/eos/pkg/runtime/rpc"
	"github.com/enclaveos/eos/pkg/sgx"
)

// Caller is the RPC channel: an *rpc.Client.
type Caller interface {
	Call(ctx context.Context, method wire.Method, payload []byte) ([]byte, error)
}

// Quoter makes quotes. Its methods may be called from any goroutine.
type Quoter struct {
	host   Caller
	report func(*sgx.TargetInfo, [sgx.ReportDataSize]byte) (*sgx.Report, error)

	mu     sync.Mutex
	target *sgx.TargetInfo // the quoting enclave, nil until it has been asked for
}

// New makes a Quoter that asks over c.
func New(c Caller) *Quoter { return &Quoter{host: c, report: enclave.Report} }

// Quote returns a quote of this enclave with data as its REPORTDATA.
func (q *Quoter) Quote(ctx context.Context, data [sgx.ReportDataSize]byte) ([]byte, error) {
	target, known, err := q.targetInfo(ctx)
	if err != nil {
		return nil, err
	}
	quote, err := q.quote(ctx, target, data)
	var refused *rpc.StatusError
	if known && errors.As(err, &refused) {
		// The quoting enclave may be another one by now.
		q.forget(target)
		if target, _, err = q.targetInfo(ctx); err != nil {
			return nil, err
		}
		quote, err = q.quote(ctx, target, data)
	}
	return quote, err
}

// quote makes a report for target and has it quoted.
func (q *Quoter) quote(ctx context.Context, target *sgx.TargetInfo, data [sgx.ReportDataSize]byte) ([]byte, error) {
	r, err := q.report(target, data)
	if err != nil {
		return nil, fmt.Errorf("quote: %w", err)
	}
	b, _ := r.AppendBinary(nil)
	quote, err := q.call(ctx, wire.QEGetQuote, b)
	if err != nil {
		return nil, fmt.Errorf("quote: %w", err)
	}
	if err := check(quote, b[:sgx.ReportBodySize]); err != nil {
		return nil, fmt.Errorf("quote: the host's answer is %w", err)
	}
	return quote, nil
}

// The offsets of a quote that are the same in versions 3 and 4.
const (
	teeOffset  = 4
	bodyOffset = 48
	bodyEnd    = bodyOffset + sgx.ReportBodySize
)

// check refuses what is not a quote of this report.
func check(quote, body []byte) error {
	if len(quote) < bodyEnd+4 {
		return fmt.Errorf("no quote: %d bytes", len(quote))
	}
	version := binary.LittleEndian.Uint16(quote)
	switch {
	case version != 3 && version != 4:
		return fmt.Errorf("a quote of version %d, want 3 or 4", version)
	case binary.LittleEndian.Uint32(quote[teeOffset:]) != 0:
		return errors.New("a quote of another kind of TEE")
	case !bytes.Equal(quote[bodyOffset:bodyEnd], body):
		return errors.New("a quote of another report than the one that was asked for")
	}
	return nil
}

// targetInfo names the quoting enclave. It is asked for once; known says that it
// was not asked for now.
func (q *Quoter) targetInfo(ctx context.Context) (target *sgx.TargetInfo, known bool, err error) {
	q.mu.Lock()
	target = q.target
	q.mu.Unlock()
	if target != nil {
		return target, true, nil
	}
	b, err := q.call(ctx, wire.QEGetTargetInfo, nil)
	if err != nil {
		return nil, false, fmt.Errorf("quoting enclave: %w", err)
	}
	if target, err = sgx.ParseTargetInfo(b); err != nil {
		return nil, false, fmt.Errorf("quoting enclave: the host's answer: %w", err)
	}
	q.mu.Lock()
	q.target = target
	q.mu.Unlock()
	return target, false, nil
}

func (q *Quoter) forget(target *sgx.TargetInfo) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.target == target {
		q.target = nil
	}
}

// Collateral returns the collateral of such quotes, in the JSON form of package
// attest, as the host has it.
func (q *Quoter) Collateral(ctx context.Context) ([]byte, error) {
	b, err := q.call(ctx, wire.QEGetCollateral, nil)
	if err != nil {
		return nil, fmt.Errorf("collateral: %w", err)
	}
	return b, nil
}

// maxReason bounds what is repeated of the host's words.
const maxReason = 300

// call adds the host's words to a refusal.
func (q *Quoter) call(ctx context.Context, m wire.Method, payload []byte) ([]byte, error) {
	b, err := q.host.Call(ctx, m, payload)
	var refused *rpc.StatusError
	if errors.As(err, &refused) && len(refused.Payload) > 0 {
		err = fmt.Errorf("%w: %q", err, refused.Payload[:min(len(refused.Payload), maxReason)])
	}
	return b, err
}

// Package metric has figures, and the text in which Prometheus takes them
// (exposition format 0.0.4).
package metric

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// ContentType is that of the text.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Kind is what a figure does over time.
type Kind string

// The kinds.
const (
	Counter   Kind = "counter"   // goes up only, and begins anew with the enclave
	Gauge     Kind = "gauge"     // goes up and down
	Histogram Kind = "histogram" // counts times
)

// Family is all figures of one name.
type Family struct {
	Name, Help string
	Kind       Kind
	Samples    []Sample
}

// Sample is one figure: its labels tell it from the others of its family.
type Sample struct {
	Labels []Label
	Value  float64
	Times  *Times // of a histogram, in place of Value
}

// Label is a name, of letters, digits and '_', and any value.
type Label struct{ Name, Value string }

// Value is a family of one figure.
func Value(name, help string, kind Kind, v float64) Family {
	return Family{name, help, kind, []Sample{{Value: v}}}
}

// Append appends the text of families. Those of one name, which several modules may
// have, become one.
func Append(b []byte, families ...Family) []byte {
	families = slices.Clone(families)
	slices.SortStableFunc(families, func(a, b Family) int { return strings.Compare(a.Name, b.Name) })
	last := ""
	for _, f := range families {
		if len(f.Samples) == 0 {
			continue
		}
		if f.Name != last {
			b = append(b, "# HELP "+f.Name+" "+helpEscapes.Replace(f.Help)+"\n# TYPE "+f.Name+" "+string(f.Kind)+"\n"...)
			last = f.Name
		}
		for _, s := range f.Samples {
			if s.Times == nil {
				b = line(b, f.Name, s.Labels, s.Value)
			} else {
				b = s.Times.append(b, f.Name, s.Labels)
			}
		}
	}
	return b
}

var (
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	valueEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

func line(b []byte, name string, labels []Label, v float64) []byte {
	b = append(b, name...)
	for i, l := range labels {
		b = append(b, "{,"[min(i, 1)])
		b = append(b, l.Name+`="`+valueEscapes.Replace(strings.ToValidUTF8(l.Value, "\ufffd"))+`"`...)
	}
	if len(labels) > 0 {
		b = append(b, '}')
	}
	b = append(b, ' ')
	return append(number(b, v), '\n')
}

func number(b []byte, v float64) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// Bounds are the upper bounds of a histogram of times.
var Bounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Times counts how long something took. Its zero value is ready, and it may be used by
// many goroutines.
type Times struct {
	counts [len(Bounds) + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

// Observe counts d.
func (t *Times) Observe(d time.Duration) {
	i, _ := slices.BinarySearch(Bounds[:], d)
	t.counts[i].Add(1)
	t.sum.Add(int64(d))
}

// Sum is all times together.
func (t *Times) Sum() time.Duration { return time.Duration(t.sum.Load()) }

// Below returns how many times were not longer than each bound, and how many there
// were.
func (t *Times) Below() (below [len(Bounds)]uint64, all uint64) {
	for i := range t.counts {
		all += t.counts[i].Load()
		if i < len(below) {
			below[i] = all
		}
	}
	return below, all
}

func (t *Times) append(b []byte, name string, labels []Label) []byte {
	below, all := t.Below()
	bucket := append(slices.Clone(labels), Label{Name: "le"})
	for i, bound := range Bounds {
		bucket[len(labels)].Value = string(number(nil, bound.Seconds()))
		b = line(b, name+"_bucket", bucket, float64(below[i]))
	}
	bucket[len(labels)].Value = "+Inf"
	b = line(b, name+"_bucket", bucket, float64(all))
	b = line(b, name+"_sum", labels, t.Sum().Seconds())
	return line(b, name+"_count", labels, float64(all))
}

package metric

import (
	"strconv"
	"strings"
)

// WantsText reports whether a request's Accept headers put this text before JSON. Who
// has no preference gets JSON, as ever.
func WantsText(accept []string) bool {
	text := max(quality(accept, "text/plain"), quality(accept, "application/openmetrics-text"))
	return text > 0 && text > quality(accept, "application/json")
}

// quality is how much a type is wanted: what the most specific range says that has it
// (RFC 9110, 12.5.1).
func quality(accept []string, kind string) float64 {
	family, _, _ := strings.Cut(kind, "/")
	q, specific := 0.0, 0
	for _, part := range strings.Split(strings.Join(accept, ","), ",") {
		name, params, _ := strings.Cut(part, ";")
		how := 0
		switch strings.ToLower(strings.TrimSpace(name)) {
		case kind:
			how = 3
		case family + "/*":
			how = 2
		case "*/*":
			how = 1
		}
		if how == 0 || how < specific {
			continue
		}
		weight := 1.0
		for p := range strings.SplitSeq(params, ";") {
			if v, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(p)), "q="); ok {
				weight = 0 // for nonsense
				if q, err := strconv.ParseFloat(v, 64); err == nil && q >= 0 && q <= 1 {
					weight = q
				}
			}
		}
		if how > specific {
			q = 0
		}
		q, specific = max(q, weight), how
	}
	return q
}

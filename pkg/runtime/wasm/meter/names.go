package meter

import "strings"

// custom gives the new contents of a custom section, or nil to leave it out.
func (o *output) custom(s section) []byte {
	r := &reader{b: s.body, base: s.off}
	switch name := r.name(); {
	case name == "name":
		b := o.names(r)
		if b == nil {
			return nil
		}
		return append(appendName(nil, name), b...)
	case strings.HasPrefix(name, ".debug_"), strings.HasPrefix(name, "reloc."), name == "linking",
		name == "sourceMappingURL", name == "external_debug_info":
		return nil
	}
	return s.body
}

// names renumbers the functions of the name section and keeps the names of the
// module, of functions and of locals. A malformed section is left out: by the
// specification it means nothing.
func (o *output) names(r *reader) []byte {
	var out []byte
	last := -1
	for r.ok() && r.left() > 0 {
		id := r.u8()
		sub := &reader{b: r.bytes(r.u32())}
		if !r.ok() || int(id) <= last {
			return nil
		}
		last = int(id)
		var b []byte
		switch id {
		case 0:
			b = appendName(nil, sub.name())
		case 1:
			b = o.nameMap(sub, func(i uint32) uint32 { return o.renumber(i) }, uint32(o.functions()))
		case 2:
			n := sub.count("functions", 2)
			b = appendU32(nil, uint32(n))
			for range n {
				i := sub.u32()
				if sub.ok() && i >= uint32(o.functions()) {
					sub.fail("function %d", i)
				}
				b = appendU32(b, o.renumber(i))
				b = append(b, o.nameMap(sub, func(i uint32) uint32 { return i }, maxLocals+maxParams)...)
			}
		default:
			continue
		}
		if !sub.ok() || sub.left() != 0 {
			return nil
		}
		out = append(appendU32(append(out, id), uint32(len(b))), b...)
	}
	if !r.ok() {
		return nil
	}
	return out
}

func (o *output) nameMap(r *reader, index func(uint32) uint32, most uint32) []byte {
	n := r.count("names", 2)
	bound(r, "names", n, maxFuncs)
	b := appendU32(nil, uint32(n))
	for range n {
		i := r.u32()
		if r.ok() && i >= most {
			r.fail("index %d", i)
		}
		b = appendName(appendU32(b, index(i)), r.name())
	}
	return b
}

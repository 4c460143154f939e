package ovs

// validateSimple checks the actions that hold no others.
func validateSimple(a Action) error {
	switch a := a.(type) {
	case OutputFieldAction:
		if !a.Field.valid() || a.Field.Size > 32 {
			return refuse("%s: not a run of at most 32 bits", a)
		}
	case OutputMaxAction:
		if a.MaxLen < 14 {
			return refuse("%s: less than an Ethernet header", a)
		}
	case ResubmitAction:
		if a.Table == 255 && a.Port == 0 {
			return refuse("%s: neither a table nor a port", a)
		}
		if a.CT && a.Table == 255 {
			return refuse("%s: ct without a table", a)
		}
	case PushVLANAction:
		if a.EtherType != etherVLAN && a.EtherType != 0x88a8 {
			return refuse("%s: want 0x8100 or 0x88a8", a)
		}
	case PushMPLSAction:
		if a.EtherType != etherMPLS && a.EtherType != etherMPLSM {
			return refuse("%s: want %#x or %#x", a, etherMPLS, etherMPLSM)
		}
	case StackPushAction:
		if !a.Field.valid() {
			return refuse("%s: no such bits", a)
		}
	case StackPopAction:
		if !a.Field.writable() {
			return refuse("%s: not bits that can be written", a)
		}
	case CheckPktLargerAction:
		if !a.Dst.writable() || a.Dst.Size != 1 {
			return refuse("%s: not a bit that can be written", a)
		}
	case DecTTLIDsAction:
		if len(a.IDs) == 0 {
			return refuse("dec_ttl to no controller")
		}
	case DeleteFieldAction:
		if !a.Field.isTunMetadata() {
			return refuse("%s: only a tun_metadata can be deleted", a)
		}
	case SampleAction:
		if a.Probability == 0 || a.Direction > 2 {
			return refuse("%s: want a probability, and ingress or egress at most", a)
		}
	case MultipathAction:
		return validateMultipath(a)
	case BundleAction:
		return validateBundle(a)
	case EncapAction:
		return validateEncap(a)
	case MeterAction:
		if a.ID == 0 || a.ID > 0xffff0000 {
			return refuse("%s: no meter by that number", a)
		}
	case WriteMetadataAction:
		if a.Value&^a.Mask != 0 {
			return refuse("%s: bits outside the mask", a)
		}
	case NoteAction:
		if len(a.Data)%8 != 6 {
			return refuse("%s: %d bytes, want 6, 14, 22 and so on", a, len(a.Data))
		}
	}
	return nil
}

// plainHeader reports whether the field's header is one that actions with room
// for 4 bytes can hold.
func (f Field) plainHeader() bool { return fields[f].headLen == 4 }

func validateMultipath(a MultipathAction) error {
	switch {
	case int(a.Hash) >= len(hashNames) || int(a.Algorithm) >= len(multipathNames):
		return refuse("%s: no such fields or algorithm", a)
	case a.Links == 0 || a.Links > 0x10000:
		return refuse("%s: want 1 to 65536 links", a)
	case !a.Dst.writable() || !a.Dst.Field.plainHeader():
		return refuse("%s: not bits that can be written", a)
	case a.Dst.Size < 16 && a.Links > 1<<a.Dst.Size:
		return refuse("%s: the field does not hold the links", a)
	}
	return nil
}

func validateBundle(a BundleAction) error {
	switch {
	case int(a.Hash) >= len(hashNames) || int(a.Algorithm) >= len(bundleNames):
		return refuse("%s: no such fields or algorithm", a)
	case len(a.Members) > 2048:
		return refuse("%s: more than 2048 members", a)
	case a.Dst.Size != 0 && (!a.Dst.writable() || !a.Dst.Field.plainHeader() || a.Dst.Size < 16):
		return refuse("%s: not 16 bits that can be written", a)
	}
	return nil
}

func validateEncap(a EncapAction) error {
	_, known := packetNames[a.PacketType]
	switch {
	case !known:
		return refuse("%s: no such header", a)
	case a.PacketType != PacketNSH && (a.MDType != 0 || len(a.TLVs) > 0):
		return refuse("%s: metadata of a header that is not NSH", a)
	case a.MDType > 2 || len(a.TLVs) > 0 && a.MDType != 2:
		return refuse("%s: want md_type 1, or 2 with tlv", a)
	}
	for _, t := range a.TLVs {
		if len(t.Value) > 127 || len(t.Value) == 0 {
			return refuse("%s: metadata of %d bytes, want 1 to 127", a, len(t.Value))
		}
	}
	return nil
}

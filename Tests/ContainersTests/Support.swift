import Testing

/// `#expect` for conditions on noncopyable values, which the macro cannot take apart.
func holds(_ condition: Bool, _ what: Comment = "", at location: SourceLocation = #_sourceLocation) {
    #expect(condition, what, sourceLocation: location)
}

//! What a guard cannot read: pictures, sound, films, files, and what a server fetches by itself.
//!
//! A guard looks at text. A prompt may carry more, and nothing that is said in a picture is seen; so
//! where a guard looks at a caller's requests such parts pass only if a grant names their kind, and
//! the record says that they were not inspected.

use std::fmt;

/// A kind of content that is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Media {
    /// A picture.
    Image,
    /// Sound.
    Audio,
    /// A film.
    Video,
    /// Anything else that is not text: a document, an archive.
    File,
    /// A reference that the server behind resolves itself: a URL, the id of an uploaded file. It can
    /// reach what the caller cannot.
    Remote,
}

/// Kinds of media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaSet(u8);

// === impl Media ===

impl Media {
    /// All of them, in the order in which documents list them.
    pub const ALL: [Media; 5] = [
        Media::Image,
        Media::Audio,
        Media::Video,
        Media::File,
        Media::Remote,
    ];

    /// The word used in policy files and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Media::Image => "image",
            Media::Audio => "audio",
            Media::Video => "video",
            Media::File => "file",
            Media::Remote => "remote",
        }
    }

    /// The kind of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Media> {
        Media::ALL.into_iter().find(|media| media.as_str() == name)
    }

    /// The kind that a media type such as `audio/wav` is of.
    pub(crate) fn of_type(media_type: &str) -> Media {
        let class = media_type.split('/').next().unwrap_or_default().trim();
        match class.to_ascii_lowercase().as_str() {
            "image" => Media::Image,
            "audio" => Media::Audio,
            "video" => Media::Video,
            _ => Media::File,
        }
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl MediaSet ===

impl MediaSet {
    /// No kind.
    pub const NONE: MediaSet = MediaSet(0);

    /// Is the kind in the set?
    pub fn contains(self, media: Media) -> bool {
        self.0 >> media as u8 & 1 != 0
    }

    /// Puts a kind in the set.
    pub fn insert(&mut self, media: Media) {
        self.0 |= 1 << media as u8;
    }

    /// Everything that is in one of two sets.
    pub fn union(self, other: MediaSet) -> MediaSet {
        MediaSet(self.0 | other.0)
    }

    /// The first kind that is in this set and not in the other.
    pub fn first_beyond(self, other: MediaSet) -> Option<Media> {
        Media::ALL
            .into_iter()
            .find(|media| self.contains(*media) && !other.contains(*media))
    }

    /// Has the set no kind?
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds in the set.
    pub fn iter(self) -> impl Iterator<Item = Media> {
        Media::ALL
            .into_iter()
            .filter(move |media| self.contains(*media))
    }
}

impl FromIterator<Media> for MediaSet {
    fn from_iter<I: IntoIterator<Item = Media>>(kinds: I) -> MediaSet {
        let mut set = MediaSet::NONE;
        kinds.into_iter().for_each(|media| set.insert(media));
        set
    }
}

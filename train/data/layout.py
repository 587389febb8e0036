"""Recognition of the splits and classes of a folder by the names of its subfolders.

    DIR/<split>/<class>/**    splits above classes
    DIR/<class>/<split>/**    classes above splits
    DIR/<class>/**            classes alone

An ambiguous folder is rejected; the message has both interpretations and the option for each.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from train.data.files import Files, Path
from train.data.source import Source
from train.data.split_names import by_split, hinted, split_of
from vbs.text import quoted, shortened

SPLITS = ("train", "val", "test")
LISTED = 8  # largest number of names in a message


@dataclass(frozen=True)
class Layout:
    """Folders of classes by split.

    places  for train, and for val and test if they exist: class -> path of its folder.
    unused  paths of folders that belong to no split.
    chosen  whether the user names the splits.
    words   note on an unusual layout; "" for none.
    """

    places: Mapping[str, Mapping[str, Path]]
    unused: tuple[Path, ...] = ()
    chosen: bool = False
    words: str = ""


class Tree:
    """Folders with their subfolders and numbers of images."""

    def __init__(self, files: Files) -> None:
        self.source = files.place
        self.direct: Counter[Path] = Counter(path[:-1] for path in files.images)
        self.total: Counter[Path] = Counter()
        for path, count in self.direct.items():
            for depth in range(len(path) + 1):
                self.total[path[:depth]] += count
        self._below: dict[Path, list[str]] = defaultdict(list)
        for path in sorted(files.folders):
            self._below[path[:-1]].append(path[-1])

    def below(self, place: Path) -> list[str]:
        """Return the names of the folders in a folder, sorted."""
        return self._below.get(place, [])

    def filled(self, place: Path) -> set[str]:
        """Return the names of the folders in a folder that contain images at any depth."""
        paths = [(*place, name) for name in self.below(place)]
        return {path[-1] for path in paths if self.total[path]}

    def where(self, place: Path) -> str:
        """Return the path of a folder for messages."""
        return shortened("/".join((self.source, *place)))

    def top(self) -> Path:
        """Return the folder below all enclosing folders that contain only one folder."""
        place: Path = ()
        while True:
            inside = self.below(place)
            if len(inside) != 1 or self.direct[place] or split_of(inside[0]):
                return place
            if not self.below((*place, *inside)):
                return place
            place = (*place, *inside)

    def split_place(self, place: Path) -> Path:
        """Return the folder of a split's classes: `place`, or its only subfolder of that split."""
        inside = self.below(place)
        alone = len(inside) == 1 and not self.direct[place]
        if alone and split_of(inside[0]) == split_of(place[-1]) is not None:
            return (*place, *inside)
        return place


def layout_of(files: Files, source: Source) -> Layout:
    """Return the splits and classes; raise ValueError if they are unknown or ambiguous."""
    tree = Tree(files)
    top, options = tree.top(), source.options
    named = {name: options[name] for name in SPLITS if name in options}
    if options.get("splits", "none") != "none" or ("splits" in options and named):
        raise ValueError("data: splits: use splits=none alone, or train=, val= and test=")
    if "splits" in options:
        return Layout({"train": _classes(tree, top)}, chosen=True)
    if named:
        return _named(tree, top, named)
    found = _recognised(tree, top, source)
    _refuse_splits_below(tree, found, source)
    return found


def _recognised(tree: Tree, top: Path, source: Source) -> Layout:
    level, filled = tree.below(top), tree.filled(top)
    exact = by_split(level)
    known = {name for names in exact.values() for name in names}
    others = sorted(filled - known)
    inside = {name: tree.filled(tree.split_place((*top, name))) for name in level}
    as_classes = Layout({"train": _classes(tree, top)}, words=_also_classes(known & filled))
    found = {**_hints(inside, exact), **exact}
    if not exact:
        if found:
            return _splits(tree, top, found, source)
        return _below_classes(tree, top, filled) or as_classes
    if not any(inside[name] for name in known):
        if filled & known and (not others or ({"train"} < set(exact) and len(others) < 2)):
            raise _ambiguous(tree, top, sorted(known & filled), source)
        return as_classes
    classes = set().union(*(inside[name] for name in known))
    alike = [name for name in others if inside[name] & classes]
    if "train" not in exact:
        if not others:
            raise ValueError(
                f"data: {tree.where(top)} holds {_listed(sorted(known))} but no train; say which "
                f"folder it is: {source.changed(train='NAME')}"
            )
        if alike or len(others) < 2:
            raise _ambiguous(tree, top, sorted(known), source, train=(alike or others)[0])
        return as_classes
    if not any(inside[name] for name in exact["train"]):
        raise _ambiguous(tree, top, sorted(known), source)
    if others and not alike and not _agree(exact, inside):
        raise _ambiguous(tree, top, exact["train"], source)
    return _splits(tree, top, found, source)


def _also_classes(names: set[str]) -> str:
    return f"{_listed(sorted(names))} used as class folders, not as splits" if names else ""


def _agree(exact: Mapping[str, Sequence[str]], inside: Mapping[str, set[str]]) -> bool:
    """Return whether another split shares classes with train or has no class folders."""
    train = set().union(*(inside[name] for name in exact["train"]))
    rest = [name for split, names in exact.items() if split != "train" for name in names]
    return any(not inside[name] or inside[name] & train for name in rest)


def _hints(
    inside: Mapping[str, set[str]], exact: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Return splits whose names only contain a split's word and whose classes train has."""
    found: dict[str, list[str]] = {}
    for name in inside:
        if (split := hinted(name)) and split not in exact and not split_of(name) and inside[name]:
            found.setdefault(split, []).append(name)
    training = exact.get("train") or found.get("train") or []
    train = set().union(*(inside[name] for name in training))
    if len(training) != 1 or len(train) < 2 or len({**found, **exact}) < 2:
        return {}
    agree = {
        split: names
        for split, names in found.items()
        if all(inside[name] <= train for name in names)
    }
    return agree if exact or len(agree) > 1 else {}


def _splits(tree: Tree, top: Path, found: Mapping[str, Sequence[str]], source: Source) -> Layout:
    places: dict[str, Mapping[str, Path]] = {}
    used = set()
    for split in SPLITS:
        # images outside class folders have no labels, so a split without class folders is unused
        names = [
            name
            for name in found.get(split, ())
            if split == "train" or not _flat(tree, (*top, name))
        ]
        if len(names) > 1:
            first = source.changed(**{split: names[0]})
            raise ValueError(
                f"data: {tree.where(top)} holds a split twice: {_listed(names)} may each be the "
                f"{split} split; say which, e.g. {first}"
            )
        if names:
            used.add(names[0])
            places[split] = _classes(tree, tree.split_place((*top, names[0])))
    unused = tuple((*top, name) for name in tree.below(top) if name not in used)
    return Layout(places, unused)


def _flat(tree: Tree, place: Path) -> bool:
    return bool(tree.direct[place]) and not tree.filled(place)


def _classes(tree: Tree, place: Path) -> dict[str, Path]:
    return {name: (*place, name) for name in tree.below(place)}


def _below_classes(tree: Tree, top: Path, filled: set[str]) -> Layout | None:
    """Return the layout of splits below classes; None if it is another layout."""
    places: dict[str, dict[str, Path]] = {"train": {}}
    for name in sorted(filled):
        place = (*top, name)
        found = by_split(tree.filled(place))
        names = [each for some in found.values() for each in some]
        twice = any(len(some) > 1 for some in found.values())
        if (
            tree.direct[place]
            or "train" not in found
            or twice
            or len(names) < len(tree.filled(place))
        ):
            return None
        for split, (each,) in found.items():
            places.setdefault(split, {})[name] = (*place, each)
    if len(places) < 2:
        return None
    unused = tuple((*top, name) for name in tree.below(top) if name not in filled)
    return Layout(places, unused, words="splits below the class folders")


def _named(tree: Tree, top: Path, named: Mapping[str, str]) -> Layout:
    """Return the layout that the options name; other splits are recognised by their names."""
    found = by_split(tree.below(top))
    places: dict[str, Mapping[str, Path]] = {}
    used = set()
    for split in SPLITS:
        name = named.get(split)
        if (
            name is None
            and len(found.get(split, ())) == 1
            and found[split][0] not in named.values()
        ):
            name = found[split][0]
        if name in (None, "none"):
            continue
        parts = tuple(part for part in name.split("/") if part)
        place = next((path for path in ((*top, *parts), parts) if tree.total[path]), None)
        if place is None or not parts:
            held = _listed(tree.below(top)) or "no folders"
            raise ValueError(
                f"data: {split}: {tree.where(top)} holds no folder {quoted(name)} with "
                f"images, but {held}"
            )
        used.add(place)
        places[split] = _classes(tree, tree.split_place(place))
    if "train" not in places:
        raise ValueError(f"data: {tree.where(top)} has no folder train; name it by train=NAME")
    level = [(*top, name) for name in tree.below(top)]
    unused = [path for path in level if not any(each[: len(path)] == path for each in used)]
    return Layout(places, tuple(unused), chosen=True)


def _refuse_splits_below(tree: Tree, found: Layout, source: Source) -> None:
    """Raise ValueError if images of one split would be used as those of another."""
    for split, classes in found.places.items():
        for name, place in classes.items():
            pending = [place]
            while pending:
                here = pending.pop()
                pending += [(*here, each) for each in tree.filled(here)]
                other = split_of(here[-1]) if here != place else None
                if other and (other != split):
                    raise ValueError(
                        f"data: {tree.where(here)} may be the {other} split of the class "
                        f"{quoted(name)}, or belong to {split}; sort the images into "
                        "<split>/<class> or <class>/<split> throughout, or say that no folder is "
                        f"a split: {source.changed(splits='none', train=None, val=None, test=None)}"
                    )


def _ambiguous(
    tree: Tree, top: Path, names: Sequence[str], source: Source, train: str | None = None
) -> ValueError:
    """Return the error with both interpretations and the option for each."""
    held = _listed(tree.below(top))
    one = train or next((name for name in names if split_of(name) == "train"), names[0])
    as_splits = source.changed(train=one)
    if not tree.filled((*top, one)):
        as_splits = "sort the images of each into one folder for each class"
    return ValueError(
        f"data: {tree.where(top)} holds {held}, which can be read in two ways. If "
        f"{_listed(names)} {'are splits' if len(names) > 1 else 'is a split'}: {as_splits}. If "
        f"all folders are classes: {source.changed(splits='none')}"
    )


def _listed(names: Sequence[str]) -> str:
    shown = [shortened(name, 60) for name in names[:LISTED]]
    more = [f"{len(names) - LISTED} more"] if len(names) > LISTED else []
    return ", ".join([*shown, *more])


def layout_notes(files: Files, found: Layout) -> list[str]:
    """Return lines about images and folders that are not used."""
    tree = Tree(files)
    notes = []
    if found.unused:
        counts = [f"{path[-1]} ({tree.total[path]:,} images)" for path in found.unused]
        notes.append(f"not used: folders {_listed(counts)} of {tree.where(found.unused[0][:-1])}")
    parents = {path[:-1] for classes in found.places.values() for path in classes.values()}
    for place in sorted(parents):
        if tree.direct[place]:
            notes.append(
                f"not used: {tree.direct[place]:,} images of {tree.where(place)} that are in no "
                "class folder"
            )
    return notes + files.notes()

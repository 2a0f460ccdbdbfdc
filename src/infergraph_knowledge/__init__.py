"""Knowledge extraction: NER, RE and JE records, what an author writes for them, and components that use real models.

An author's component imports from here:

    from infergraph_knowledge import EntityExtractor, JointExtractor, Pair, RelationClassifier
"""

from infergraph_knowledge.authoring import About, EntityExtractor, JointExtractor, RelationClassifier
from infergraph_knowledge.records import Entity, EntityRecord, Pair, PairRecord, RelationRecord, TextRecord, Triple

__all__ = [
    "About",
    "Entity",
    "EntityExtractor",
    "EntityRecord",
    "JointExtractor",
    "Pair",
    "PairRecord",
    "RelationClassifier",
    "RelationRecord",
    "TextRecord",
    "Triple",
]
